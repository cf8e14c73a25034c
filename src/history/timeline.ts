import type { JournalReader } from "../../journal/index.ts";
import { comingTopic } from "../engine/index.ts";
import { EntryDraft, type HistoryEntry } from "./entry.ts";

/**
 * The record in the order in which its transactions began, and notes where they
 * were taken; of some images if their resolved paths are given, at a cost that does not
 * depend on what else is recorded. A moved image has its history from before.
 * @throws QcowalError JOURNAL_DAMAGED naming the first record that does not verify
 */
export function timeline(
  journal: JournalReader,
  images?: readonly string[],
  { from = 1, reverse = false }: TimelineRange = {},
): AsyncGenerator<HistoryEntry> {
  if (images !== undefined) return ofImages(journal, images, from, reverse);
  return reverse ? reversed(everything(journal, from)) : everything(journal, from);
}

export interface TimelineRange {
  /** Smallest number that is wanted. */
  readonly from?: number;
  /** Newest first. */
  readonly reverse?: boolean;
}

async function* reversed(entries: AsyncIterable<HistoryEntry>): AsyncGenerator<HistoryEntry> {
  const all: HistoryEntry[] = [];
  for await (const entry of entries) all.push(entry);
  yield* all.toReversed();
}

async function* everything(journal: JournalReader, from: number): AsyncGenerator<HistoryEntry> {
  /** In the order in which they began: a transaction that began later may end earlier. */
  const open = new Map<number, EntryDraft>();
  for await (const record of journal.records({ from })) {
    if (record.kind === "begun" || record.kind === "note") open.set(record.sequence, new EntryDraft(record));
    else open.get(record.transaction)?.add(record);
    for (const draft of open.values()) {
      if (!draft.isComplete) break;
      open.delete(draft.transaction);
      yield* entryOf(draft);
    }
  }
  for (const draft of open.values()) yield* entryOf(draft);
}

async function* ofImages(
  journal: JournalReader,
  images: readonly string[],
  from: number,
  reverse: boolean,
): AsyncGenerator<HistoryEntry> {
  const numbers = new Set<number>();
  for (const image of images) {
    for (const number of await numbersOf(journal, image)) if (number >= from) numbers.add(number);
  }
  for (const number of [...numbers].toSorted((a, b) => (reverse ? b - a : a - b))) {
    const draft = await draftOf(journal, number);
    if (draft !== undefined) yield* entryOf(draft);
  }
}

/** One transaction or note by its number; undefined when there is none. */
export async function entryAt(journal: JournalReader, number: number): Promise<HistoryEntry | undefined> {
  return (await draftOf(journal, number))?.entry();
}

function* entryOf(draft: EntryDraft): Generator<HistoryEntry> {
  const entry = draft.entry();
  if (entry !== undefined) yield entry;
}

async function draftOf(journal: JournalReader, number: number): Promise<EntryDraft | undefined> {
  let draft: EntryDraft | undefined;
  for (const record of await journal.recordsOf(number)) {
    if (draft === undefined) draft = new EntryDraft(record);
    else draft.add(record);
  }
  return draft;
}

/**
 * The transactions of an image: of the path that it has, and of those
 * that it had as far as it had them. Two paths of one file share all.
 */
async function numbersOf(journal: JournalReader, image: string): Promise<ReadonlySet<number>> {
  const numbers = new Set<number>();
  const paths = new Map<string, number>([[image, Infinity]]);
  for (const [path, before] of paths) {
    for await (const number of journal.transactionsOf(path)) if (number < before) numbers.add(number);
    for await (const number of journal.transactionsOf(comingTopic(path))) {
      const entry = number < before ? await entryAt(journal, number) : undefined;
      const observed = entry?.images.find((candidate) => candidate.image === path)?.observed;
      if (observed?.from === undefined || paths.has(observed.from)) continue;
      if (observed.what === "moved") paths.set(observed.from, number);
      if (observed.what === "linked") paths.set(observed.from, before);
    }
  }
  return numbers;
}
