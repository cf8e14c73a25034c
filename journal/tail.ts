import { QcowalError, invariant } from "../src/errors/index.ts";
import { GENESIS, damaged, keyOf, read, verified } from "./chain.ts";
import { type RecordKind, type StoredRecord, isOfNewerProgram } from "./record.ts";
import type { Store } from "./store.ts";
import { decodeStub } from "./stub.ts";
import type { Transactions } from "./transactions.ts";

/** The end of a log that a power cut tore: from `sequence` to the last record that is there. */
export interface TornTail {
  readonly sequence: number;
  readonly last: number;
  /** What is wrong with which record, without a full stop. */
  readonly reason: string;
}

/** Whoever appended these waited for the disk, and for all that had been appended before. */
const SYNCED: ReadonlySet<RecordKind> = new Set<RecordKind>([
  "genesis",
  "prepared",
  "committed",
  "compacted",
]);

const DROPPED_UNSAID = "was dropped, and the record of the compaction is missing";

/**
 * The last record of the unbroken chain. What the disk has lost or torn behind
 * the last synced record was never acknowledged, so nobody has acted on it, and
 * the next append takes its place. There may be a gap: where a power cut tore a
 * block of LevelDB's log, LevelDB drops the rest of it without a word and reads
 * on in the next block. Recovery looks at the images before it believes that.
 *
 * A gap before a synced record that is followed by others is none of these: that
 * is damage, and whoever reads there says so.
 */
export async function findTail(
  dir: string,
  store: Store,
  [key, value]: readonly [string, Uint8Array],
): Promise<End> {
  const sequence = Number.parseInt(key, 16);
  invariant(keyOf(sequence) === key, `the journal's store holds a foreign key ${JSON.stringify(key)}`);
  // A compaction is synced, and its record comes after everything that it drops.
  if (decodeStub(value) !== undefined) throw damaged(dir, sequence, DROPPED_UNSAID);
  let last: StoredRecord;
  try {
    last = verified(dir, sequence, value);
  } catch (error) {
    // Torn is what nobody has acknowledged. What a newer program has written is not for us to write over.
    if (!(error instanceof QcowalError) || sequence === GENESIS || isOfNewerProgram(value)) throw error;
    const tornTail = {
      sequence,
      last: sequence,
      reason: `record ${sequence} ${String(error.details["problem"])}`,
    };
    return { tail: await read(dir, store, sequence - 1), tornTail, behindGap: undefined };
  }
  // All that precedes it is made durable before it is written: there is no gap.
  if (last.kind === "compacted") return { tail: last, tornTail: undefined, behindGap: undefined };
  let tail: StoredRecord | undefined = last;
  let gap: number | undefined;
  for (let at = sequence - 1; at >= GENESIS; at--) {
    const before = await store.get(keyOf(at));
    if (before === undefined) {
      tail = undefined;
      gap = at;
      continue;
    }
    if (decodeStub(before) !== undefined) throw damaged(dir, at, DROPPED_UNSAID);
    const record = verified(dir, at, before);
    tail ??= record;
    if (SYNCED.has(record.kind)) break;
  }
  if (tail === undefined) throw damaged(dir, GENESIS, "is missing");
  if (gap === undefined) return { tail, tornTail: undefined, behindGap: undefined };
  const tornTail = { sequence: gap, last: sequence, reason: `record ${gap} is missing` };
  return { tail, tornTail, behindGap: last };
}

export interface End {
  readonly tail: StoredRecord;
  readonly tornTail: TornTail | undefined;
  /** The last record of all, if there is a gap before it. */
  readonly behindGap: StoredRecord | undefined;
}

/** A commit is only written once its prepare is durable: without that, a gap before it is damage. */
export function assertTorn(dir: string, { behindGap, tornTail }: End, { pending }: Transactions): void {
  if (tornTail === undefined || behindGap?.kind !== "committed") return;
  const state = pending.find(({ transaction }) => transaction === behindGap.transaction)?.state;
  if (state !== "prepared") throw damaged(dir, tornTail.sequence, "is missing");
}

export function staleKeys(torn: TornTail | undefined): string[] {
  if (torn === undefined) return [];
  return Array.from({ length: torn.last - torn.sequence + 1 }, (_, index) => keyOf(torn.sequence + index));
}
