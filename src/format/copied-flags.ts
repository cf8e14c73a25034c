import { COPIED_BYTE, COPIED_BYTE_MASK } from "./entries.ts";
import { type TableKernel, tableKernel } from "./table-kernel.ts";

/** The same stored entries with the COPIED flag of each set, or clear; valid until the next call. */
export function withCopied(
  entries: Uint8Array,
  entrySize: 8 | 16,
  isSet: boolean,
  kernel: TableKernel | undefined = tableKernel(),
): Uint8Array {
  if (kernel?.fits(entries.length) === true) return kernel.marked(entries, entrySize, isSet);
  const copy = Uint8Array.from(entries);
  markCopied(copy, 0, copy.length, entrySize, isSet);
  return copy;
}

/** Sets or clears the COPIED flag of the stored entries from byte `first` to before `end`. */
export function markCopied(
  entries: Uint8Array,
  first: number,
  end: number,
  entrySize: 8 | 16,
  isSet: boolean,
): void {
  const [keep, add] = isSet ? [0xff, COPIED_BYTE_MASK] : [~COPIED_BYTE_MASK, 0];
  for (let at = first + COPIED_BYTE; at < end; at += entrySize)
    entries[at] = ((entries[at] ?? 0) & keep) | add;
}
