import { randomUUID } from "node:crypto";
import { GENESIS, damaged, keyOf, linkAt, read, walk } from "./chain.ts";
import { genesisId } from "./genesis.ts";
import { isIndexed, isLogKey, versionEntry } from "./index-entries.ts";
import { Journal } from "./journal.ts";
import { LogIndex, type TopicsOf } from "./log-index.ts";
import { NO_DIGEST, encodeRecord } from "./record.ts";
import { RETENTION, type Retention } from "./retention.ts";
import type { Store } from "./store.ts";
import { assertTorn, findTail } from "./tail.ts";
import { Transactions } from "./transactions.ts";

export interface OpenOnOptions {
  readonly dir: string;
  /** False: undefined is returned for an empty store instead of a new journal. */
  readonly create: boolean;
  readonly now?: () => number;
  /** For a journal whose index is not there or not complete, to be built from the records. */
  readonly topicsOf?: TopicsOf;
  /** What is dropped unasked. Default: `RETENTION`. */
  readonly retention?: Retention;
  readonly onClose?: () => Promise<void>;
}

/**
 * Opens the journal in an ordered store.
 * @throws QcowalError JOURNAL_DAMAGED, NO_SPACE, IO_FAILED
 */
export async function openJournalOn(store: Store, options: OpenOnOptions): Promise<Journal | undefined> {
  const { dir, create, now = Date.now, onClose = () => Promise.resolve() } = options;
  const last = await store.last();
  if (last === undefined) {
    if (!create) return undefined;
    await writeGenesis(store, now());
    return openJournalOn(store, options);
  }
  if (!isLogKey(last[0])) throw damaged(dir, GENESIS, "is missing");
  const end = await findTail(dir, store, last);
  const { tail, tornTail } = end;
  const genesis = await read(dir, store, GENESIS);
  const id = genesisId(genesis);
  if (id === undefined) throw damaged(dir, GENESIS, "is not a genesis record");
  const transactions = new Transactions();
  const before = tail.low > GENESIS ? await linkAt(dir, store, tail.low - 1) : undefined;
  // With nothing pending the tail is no part.
  let newest = tail;
  for await (const record of walk(dir, store, tail.low, tail.sequence, before?.digest ?? NO_DIGEST)) {
    transactions.apply(record, record.size);
    if (isIndexed(record.kind)) newest = record;
  }
  assertTorn(dir, end, transactions);
  const index = await LogIndex.open({ dir, store, topicsOf: options.topicsOf }, newest);
  const retention = options.retention ?? RETENTION;
  return new Journal({ dir, store, now, onClose, id, tail, transactions, index, tornTail, retention });
}

/** Synced: the id that fences name must not change with a power cut. */
async function writeGenesis(store: Store, time: number): Promise<void> {
  const { value } = encodeRecord({
    sequence: GENESIS,
    kind: "genesis",
    transaction: 0,
    time,
    low: GENESIS + 1,
    body: { id: randomUUID() },
    previous: NO_DIGEST,
  });
  await store.put([[keyOf(GENESIS), value], versionEntry()], true);
}
