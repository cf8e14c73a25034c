import type { Disk } from "../disk/index.ts";
import { applyCopied, inspectCopied } from "./copied.ts";
import { applyFill, inspectFill } from "./fill.ts";
import { applyHeader, inspectHeader } from "./header-patches.ts";
import type { Intent, IntentState } from "./intent.ts";
import { applyPointer, inspectPointer } from "./pointer.ts";
import { applyRefcount, inspectRefcount } from "./refcount.ts";

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
      await applyRefcount(disk, intent);
      return;
    case "copied":
      await applyCopied(disk, intent);
      return;
    case "pointer":
      await applyPointer(disk, intent);
      return;
    case "header":
      await applyHeader(disk, intent);
      return;
    case "discard":
      for (const [offset, length] of intent.runs) await disk.discard(offset, length);
  }
}

/** Tells what the disk shows under an intent, without writing. A discard is advisory: it shows nothing. */
export async function inspectIntent(disk: Disk, intent: Intent): Promise<IntentState> {
  switch (intent.kind) {
    case "fill":
      return inspectFill(disk, intent);
    case "refcount":
      return inspectRefcount(disk, intent);
    case "copied":
      return inspectCopied(disk, intent);
    case "pointer":
      return inspectPointer(disk, intent);
    case "header":
      return inspectHeader(disk, intent);
    case "discard":
      return "after";
  }
}
