import type { Disk } from "../disk/index.ts";
import { copiedEdit } from "./copied.ts";
import { applyEdits } from "./edit.ts";
import { applyFill } from "./fill.ts";
import { applyHeader } from "./header-patches.ts";
import type { Intent } from "./intent.ts";
import { applyPointer } from "./pointer.ts";
import { refcountEdit } from "./refcount.ts";
import { applyZero } from "./zero.ts";

/**
 * Makes it so. Applying an intent to a disk that shows any state but `foreign`
 * leads to `after`; applying it again changes nothing. Pending until a sync.
 */
export async function applyIntent(disk: Disk, intent: Intent): Promise<void> {
  switch (intent.kind) {
    case "fill":
      await applyFill(disk, intent);
      return;
    case "refcount":
      await applyEdits(disk, [refcountEdit(intent)]);
      return;
    case "copied":
      await applyEdits(disk, [copiedEdit(intent)]);
      return;
    case "pointer":
      await applyPointer(disk, intent);
      return;
    case "header":
      await applyHeader(disk, intent);
      return;
    case "zero":
      await applyZero(disk, intent);
      return;
    case "discard":
      for (const [offset, length] of intent.runs) await disk.discard(offset, length);
  }
}
