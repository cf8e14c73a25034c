import { type Disk, allEnded, giveSpare, takeSpare } from "../disk/index.ts";
import { copiedEdit } from "./copied.ts";
import type { Intent } from "./intent.ts";
import { refcountEdit } from "./refcount.ts";
import type { Edit } from "./window.ts";

/** What an intent does, if it is one that changes something inside sectors. */
export function editOf(intent: Intent): Edit | undefined {
  if (intent.kind === "copied") return copiedEdit(intent);
  return intent.kind === "refcount" ? refcountEdit(intent) : undefined;
}

/** Windows that follow each other, which are read and written at once. */
interface Span {
  readonly offset: number;
  /** Where it is in memory. */
  readonly from: number;
  end: number;
  isWhole: boolean;
}

/**
 * Makes changes that have no sector in common: reads all of them, then writes all
 * of them. When it throws, nothing is under way any more.
 */
export async function applyEdits(disk: Disk, edits: readonly Edit[]): Promise<void> {
  const spans = spansOf(edits);
  const memory = takeSpare(spans.at(-1)?.end ?? 0);
  const each = (some: readonly Span[], transfer: (offset: number, bytes: Buffer) => Promise<unknown>) =>
    allEnded(some.map(({ offset, from, end }) => transfer(offset, memory.subarray(from, end))));
  await each(
    spans.filter(({ isWhole }) => !isWhole),
    (offset, bytes) => disk.read(offset, bytes),
  );
  let at = 0;
  for (const { window, change } of edits) {
    change(memory.subarray(at, at + window.length));
    at += window.length;
  }
  await each(spans, (offset, bytes) => disk.write(offset, bytes));
  giveSpare(memory);
}

function spansOf(edits: readonly Edit[]): Span[] {
  const spans: Span[] = [];
  let at = 0;
  for (const { window, isWhole } of edits) {
    const last = spans.at(-1);
    const end = at + window.length;
    if (last !== undefined && last.offset + (last.end - last.from) === window.offset) {
      last.end = end;
      last.isWhole &&= isWhole;
    } else spans.push({ offset: window.offset, from: at, end, isWhole });
    at = end;
  }
  return spans;
}
