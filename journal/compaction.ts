/**
 * Drops the parts of transactions that are over. Each batch is one synced put:
 * a run of parts gives way to a stub, and the record of the compaction, which
 * names them all, is appended to the chain. Power fails before it or after it.
 */
import { throwIfAborted } from "../src/errors/index.ts";
import { linkAt, keyOf, walkLinks } from "./chain.ts";
import { encodeCompacted } from "./compacted-body.ts";
import { type HeldIntents, intentsKey } from "./index-entries.ts";
import type { Entry, Store } from "./store.ts";
import { type Stub, encodeStub, isStub } from "./stub.ts";

/** Which intents may go: those of a transaction that is kept by neither of the first two, or does not fit into the third. */
export interface CompactionPolicy {
  /** So many of the newest ended transactions keep theirs. */
  readonly keepTransactions: number;
  /** Only what ended before this is dropped, in milliseconds since 1970. */
  readonly olderThan: number;
  /** More bytes of intents than this are not kept: the newest have the first claim. */
  readonly maxBytes: number;
}

/** What a compaction dropped, or would drop. */
export interface CompactionReport {
  readonly dryRun: boolean;
  /** Transactions whose intents were dropped. */
  readonly transactions: number;
  readonly records: number;
  /** Encoded length of those records, not compressed. */
  readonly bytes: number;
  /** Size of the journal on disk in bytes, before and after; equal in a dry run. */
  readonly sizeBefore: number;
  readonly sizeAfter: number;
}

/** What is put and removed together with a record. */
export interface Beside {
  readonly entries: readonly Entry[];
  readonly stale: readonly string[];
}

export interface CompactedLog {
  readonly dir: string;
  readonly store: Store;
  /** Appends a synced record of kind `compacted`; `beside` is told its sequence. */
  readonly append: (body: unknown, beside: (sequence: number) => Beside) => Promise<unknown>;
}

/** Bounds what is held in memory and what one put does. */
const BATCH_TRANSACTIONS = 200;
/** Far below the limit of a record. */
const BATCH_RUNS = 4000;

/** Those of `held`, oldest first, that may go. */
export function expendable(
  held: readonly HeldIntents[],
  { keepTransactions, olderThan, maxBytes }: CompactionPolicy,
): HeldIntents[] {
  let kept = 0;
  return held
    .toReversed()
    .filter(({ time, bytes }, place) => {
      const mayGo = place >= keepTransactions && time < olderThan;
      if (mayGo || kept + bytes > maxBytes) return true;
      kept += bytes;
      return false;
    })
    .toReversed();
}

export interface CompactLogOptions {
  readonly dryRun: boolean;
  readonly by: unknown;
  readonly signal?: AbortSignal | undefined;
}

/** @throws QcowalError JOURNAL_DAMAGED when something that is to be dropped does not verify: it stays; ABORTED between batches */
export async function compactLog(
  log: CompactedLog,
  going: readonly HeldIntents[],
  { dryRun, by, signal }: CompactLogOptions,
): Promise<CompactionReport> {
  const { dir, store, append } = log;
  const sizeBefore = await store.size();
  const transactions = new Set<number>();
  let [records, bytes] = [0, 0];
  for (let at = 0; at < going.length; at += BATCH_TRANSACTIONS) {
    const batch = going.slice(at, at + BATCH_TRANSACTIONS);
    const isUntouched = dryRun || records === 0;
    const runs = await runsOf(dir, store, batch, () =>
      throwIfAborted(
        signal,
        `The compaction was called off. ${isUntouched ? "Nothing was changed." : "What it dropped before stays dropped, and the journal is whole."}`,
      ),
    );
    for (const run of runs) {
      transactions.add(run.transaction);
      records += run.last - run.sequence + 1;
      bytes += run.bytes;
    }
    if (dryRun) continue;
    for (let first = 0; first < runs.length; first += BATCH_RUNS) {
      const some = runs.slice(first, first + BATCH_RUNS);
      // Of a transaction in two halves the index knows until its second half is dropped as well.
      const isLast = first + BATCH_RUNS >= runs.length;
      await append(bodyOf(some, by), (compaction) => besideOf(some, isLast ? batch : [], compaction));
    }
  }
  const [first] = going;
  if (!dryRun && first !== undefined && records > 0) {
    await store.compact(keyOf(first.transaction), keyOf(lastEnd(going)));
  }
  const sizeAfter = dryRun ? sizeBefore : await store.size();
  return { dryRun, transactions: transactions.size, records, bytes, sizeBefore, sizeAfter };
}

type Run = Omit<Stub, "compaction"> & { readonly bytes: number };

const lastEnd = (transactions: readonly HeldIntents[]): number =>
  transactions.reduce((last, { end }) => Math.max(last, end), 0);

/** Their parts, each verified against the one before: what is damaged must not vanish under a stub. */
async function runsOf(
  dir: string,
  store: Store,
  batch: readonly HeldIntents[],
  checkpoint: () => void,
): Promise<Run[]> {
  const [first] = batch;
  if (first === undefined) return [];
  const wanted = new Set(batch.map(({ transaction }) => transaction));
  const ended = new Set<number>();
  const runs: Run[] = [];
  const before = await linkAt(dir, store, first.transaction - 1);
  for await (const link of walkLinks(dir, store, first.transaction, lastEnd(batch), before.digest)) {
    checkpoint();
    if (isStub(link)) continue;
    const { kind, transaction, sequence, previous, digest, size } = link;
    if (kind === "settled" || kind === "aborted") ended.add(transaction);
    if (kind !== "part" || !wanted.has(transaction)) continue;
    const run = runs.at(-1);
    if (run?.transaction === transaction && run.last === sequence - 1) {
      runs[runs.length - 1] = { ...run, last: sequence, digest, bytes: run.bytes + size };
    } else {
      runs.push({ sequence, last: sequence, transaction, previous, digest, bytes: size });
    }
  }
  return runs.filter(({ transaction }) => ended.has(transaction));
}

const bodyOf = (runs: readonly Run[], by: unknown): unknown =>
  encodeCompacted({ runs, bytes: runs.reduce((sum, { bytes }) => sum + bytes, 0), by });

function besideOf(runs: readonly Run[], over: readonly HeldIntents[], compaction: number): Beside {
  return {
    entries: runs.map((run): Entry => [keyOf(run.sequence), encodeStub({ ...run, compaction })]),
    stale: [
      ...runs.flatMap(({ sequence, last }) =>
        Array.from({ length: last - sequence }, (_, index) => keyOf(sequence + 1 + index)),
      ),
      ...over.map(intentsKey),
    ],
  };
}
