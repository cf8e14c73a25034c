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
  const names = new Map<string, number>();
  for (const image of images) {
    for (const [path, to] of await namesOf(journal, image)) {
      names.set(path, Math.max(to, names.get(path) ?? 0));
    }
  }
  const numbers = [...names].map(([topic, to]) => journal.transactionsOf(topic, { from, to, reverse }));
  // The store answers several questions at once: one after the other takes three times as long.
  for await (const some of batched(merged(numbers, reverse), BATCH)) {
    for (const draft of await Promise.all(some.map((number) => draftOf(journal, number)))) {
      if (draft !== undefined) yield* entryOf(draft);
    }
  }
}

const BATCH = 16;

async function* batched<Item>(items: AsyncIterable<Item>, size: number): AsyncGenerator<Item[]> {
  let batch: Item[] = [];
  for await (const item of items) {
    batch.push(item);
    if (batch.length < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

/** Sorted numbers as one, each once. No more of them is asked for than is wanted. */
async function* merged(sources: readonly AsyncGenerator<number>[], reverse: boolean): AsyncGenerator<number> {
  const heads = new Map<AsyncGenerator<number>, number>();
  const advance = async (source: AsyncGenerator<number>): Promise<void> => {
    const next = await source.next();
    if (next.done === true) heads.delete(source);
    else heads.set(source, next.value);
  };
  try {
    for (const source of sources) await advance(source);
    while (heads.size > 0) {
      const next = reverse ? Math.max(...heads.values()) : Math.min(...heads.values());
      yield next;
      for (const [source, head] of heads) if (head === next) await advance(source);
    }
  } finally {
    for (const source of sources) await source.return(undefined);
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
 * The paths of an image, each with the last number at which it had it: the one
 * that it has, and those that it had before it was moved. Two paths of one file
 * share all.
 */
async function namesOf(journal: JournalReader, image: string): Promise<ReadonlyMap<string, number>> {
  const names = new Map<string, number>([[image, Number.MAX_SAFE_INTEGER]]);
  for (const [path, to] of names) {
    for await (const number of journal.transactionsOf(comingTopic(path), { to })) {
      const entry = await entryAt(journal, number);
      const observed = entry?.images.find((candidate) => candidate.image === path)?.observed;
      if (observed?.from === undefined || names.has(observed.from)) continue;
      if (observed.what === "moved") names.set(observed.from, number - 1);
      if (observed.what === "linked") names.set(observed.from, to);
    }
  }
  return names;
}
