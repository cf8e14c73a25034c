import type { JournalReader } from "../../journal/index.ts";
import { comingTopic } from "../engine/index.ts";
import { EntryDraft, type HistoryEntry } from "./entry.ts";

/**
 * The record in the order in which its transactions began, and notes where they
 * were taken; of one image if its resolved path is given, at a cost that does not
 * depend on what else is recorded. A moved image has its history from before.
 * @throws QcowalError JOURNAL_DAMAGED naming the first record that does not verify
 */
export function timeline(journal: JournalReader, image?: string): AsyncGenerator<HistoryEntry> {
  return image === undefined ? everything(journal) : ofImage(journal, image);
}

async function* everything(journal: JournalReader): AsyncGenerator<HistoryEntry> {
  /** In the order in which they began: a transaction that began later may end earlier. */
  const open = new Map<number, EntryDraft>();
  for await (const record of journal.records()) {
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

async function* ofImage(journal: JournalReader, image: string): AsyncGenerator<HistoryEntry> {
  for (const number of await numbersOf(journal, image)) {
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
 * The transactions of an image, ascending: of the path that it has, and of those
 * that it had as far as it had them. Two paths of one file share all.
 */
async function numbersOf(journal: JournalReader, image: string): Promise<number[]> {
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
  return [...numbers].toSorted((a, b) => a - b);
}
