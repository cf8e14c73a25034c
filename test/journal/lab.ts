import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { Level } from "level";
import { type Journal, type JournalReader, type Store, openJournalOn } from "../../journal/index.ts";
import type { StoredEntries } from "../support/simulated-store.ts";

export async function scratch(): Promise<string> {
  const dir = await realpath(await mkdtemp(join(tmpdir(), "qcowal-journal-")));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

export async function open(store: Store): Promise<Journal> {
  const journal = await openJournalOn(store, { dir: "/fake", create: true, now: () => 1_700_000_000_000 });
  if (journal === undefined) throw new Error("no journal was made");
  return journal;
}

/** One transaction to its end, one that was aborted, and one in each state of the way. */
export async function fill(journal: Journal): Promise<Record<string, number>> {
  const begin = async (name: string): Promise<number> => {
    const transaction = await journal.begin({ name });
    await journal.part(transaction, [name, 1]);
    await journal.part(transaction, [name, new Uint8Array([1, 2, 3])]);
    return transaction;
  };
  const settled = await begin("settled");
  await journal.prepare(settled, "plan");
  await journal.commit(settled, "why");
  await journal.settle(settled, "end");
  const aborted = await begin("aborted");
  await journal.abort(aborted, "end");
  const begun = await begin("begun");
  const prepared = await begin("prepared");
  await journal.prepare(prepared, "plan");
  await journal.note("between");
  const committed = await begin("committed");
  await journal.prepare(committed, "plan");
  await journal.commit(committed, "why");
  return { settled, aborted, begun, prepared, committed };
}

export function states(journal: JournalReader): Record<number, string> {
  return Object.fromEntries(journal.pending().map(({ transaction, state }) => [transaction, state]));
}

/** MessagePack gives bytes back as a Buffer. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return new Uint8Array(value);
  return Array.isArray(value) ? value.map(plain) : value;
}

export async function partsOf(journal: JournalReader, transaction: number): Promise<unknown[]> {
  const parts: unknown[] = [];
  for await (const part of journal.parts(transaction)) parts.push(plain(part));
  return parts;
}

/** Keys of the records, in the order of the log. */
export const logKeys = (content: ReadonlyMap<string, Uint8Array>): string[] =>
  [...content.keys()].filter((key) => /^[0-9a-f]{16}$/.test(key)).toSorted();

/** In the order of the store and in hexadecimal digits: two of them compare fast, and readably. */
export const sorted = (content: StoredEntries): string[] =>
  [...content].map(([key, value]) => `${key} ${Buffer.from(value).toString("hex")}`).toSorted();

/** The records among what a store holds, in their order. */
export function recordsIn(content: ReadonlyMap<string, Uint8Array>): [key: string, value: Uint8Array][] {
  return [...content].filter(([key]) => /^[0-9a-f]{16}$/.test(key)).toSorted(([a], [b]) => (a < b ? -1 : 1));
}

/** What LevelDB holds, read behind the journal's back. */
export async function readLevel(dir: string): Promise<Map<string, Uint8Array>> {
  const database = new Level<string, Uint8Array>(join(dir, "leveldb"), { valueEncoding: "view" });
  try {
    return new Map(await database.iterator().all());
  } finally {
    await database.close();
  }
}

/** Replaces everything that LevelDB holds. */
export async function writeLevel(dir: string, content: ReadonlyMap<string, Uint8Array>): Promise<void> {
  const database = new Level<string, Uint8Array>(join(dir, "leveldb"), { valueEncoding: "view" });
  try {
    await database.clear();
    for (const [key, value] of content) await database.put(key, value);
  } finally {
    await database.close();
  }
}
