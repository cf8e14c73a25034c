import { isQcowalError } from "../errors/index.ts";
import { inspectCopied } from "./copied.ts";
import { inspectFill } from "./fill.ts";
import { inspectHeader } from "./header-patches.ts";
import type { ByteRange, Inspection, Reader } from "./inspection.ts";
import type { Intent } from "./intent.ts";
import { inspectPointer } from "./pointer.ts";
import { inspectRefcount } from "./refcount.ts";
import { inspectZero } from "./zero.ts";

/**
 * Tells what the disk shows under an intent, without writing. Bytes that cannot
 * be read are a finding too: recovery has to say where the disk fails, not stop
 * at the first sector and leave somebody to search.
 */
export async function inspectIntent(disk: Reader, intent: Intent): Promise<Inspection> {
  let range: ByteRange = { offset: 0, length: 0 };
  const reader: Reader = {
    read: (offset, target) => {
      range = { offset, length: target.length };
      return disk.read(offset, target);
    },
  };
  try {
    return await inspect(reader, intent);
  } catch (cause) {
    if (isQcowalError(cause, "IO_FAILED")) return { state: "unreadable", range, cause };
    throw cause;
  }
}

async function inspect(reader: Reader, intent: Intent): Promise<Inspection> {
  switch (intent.kind) {
    case "fill":
      return inspectFill(reader, intent);
    case "refcount":
      return inspectRefcount(reader, intent);
    case "copied":
      return inspectCopied(reader, intent);
    case "pointer":
      return inspectPointer(reader, intent);
    case "header":
      return inspectHeader(reader, intent);
    case "zero":
      return inspectZero(reader, intent);
    case "discard":
      // Advisory: it shows nothing.
      return { state: "after" };
  }
}
