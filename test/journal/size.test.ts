import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  type Entry,
  type Journal,
  RETENTION,
  type Store,
  openJournal,
  openJournalOn,
} from "../../journal/index.ts";
import { openLevelStore } from "../../journal/level-store.ts";
import { makeImage, noise } from "../../tools/image-maker/index.ts";
import { SimulatedStore } from "../support/simulated-store.ts";
import { newWorld, operate } from "../support/world.ts";
import { open, scratch } from "./lab.ts";

const OPERATIONS = 10_000;
const LIMIT = 64 * 1024 * 1024;
const IMAGE = "/var/lib/vms/web.qcow2";
/** In three parts: what an operation on a fragmented disk of 64 GiB has, of the kind that does not compress. */
const INTENT_BYTES = 7200;

/** LevelDB, without waiting for the disk: that has no part in what is written. */
async function unsynced(dir: string): Promise<Store> {
  const level = await openLevelStore(join(dir, "leveldb"), 0);
  if (level === undefined) throw new Error("the store is held");
  return {
    get: (key) => level.get(key),
    getMany: (keys) => level.getMany(keys),
    entries: (from, to, reverse) => level.entries(from, to, reverse),
    last: () => level.last(),
    put: (entries: readonly Entry[], _sync, stale) => level.put(entries, false, stale),
    compact: (from, to) => level.compact(from, to),
    size: () => level.size(),
    close: () => level.close(),
  };
}

/** Bodies of a real operation, by the kind of their record. */
async function bodies(): Promise<Map<string, unknown>> {
  const image = makeImage({ version: 3, clusterBits: 12, virtualSize: 2 ** 20 });
  const { world } = await operate(newWorld({ [IMAGE]: image }), [
    { type: "create", image: IMAGE, name: "nightly" },
  ]);
  const found = new Map<string, unknown>();
  for await (const { kind, body } of (await open(new SimulatedStore(world.journal))).records())
    found.set(kind, body);
  return found;
}

async function sizeOnDisk(dir: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(join(dir, "leveldb")))
    bytes += (await stat(join(dir, "leveldb", name))).size;
  return bytes;
}

async function fill(journal: Journal): Promise<void> {
  const of = await bodies();
  for (let count = 0; count < OPERATIONS; count += 1) {
    const number = await journal.begin({ ...(of.get("begun") as object), reason: `night ${count}` }, [IMAGE]);
    for (let part = 0; part < 3; part += 1) {
      await journal.part(number, ["raise", 0, noise(count * 3 + part, INTENT_BYTES / 3)]);
    }
    await journal.prepare(number, of.get("prepared"));
    await journal.commit(number);
    await journal.settle(number, of.get("settled"));
  }
}

test(
  "after 10,000 operations on an image the journal is small, and every one of them is on the record",
  { timeout: 300_000 },
  async () => {
    const dir = await scratch();
    const store = await unsynced(dir);
    const written = await openJournalOn(store, { dir, create: true });
    if (written === undefined) throw new Error("no journal was made");
    await fill(written);
    await written.close();
    // Without a compaction the intents alone would be more than that.
    expect(OPERATIONS * INTENT_BYTES).toBeGreaterThan(LIMIT);
    expect(await sizeOnDisk(dir)).toBeLessThan(LIMIT);
    const logs = (await readdir(join(dir, "leveldb"))).filter((name) => name.endsWith(".log"));
    for (const log of logs) expect((await stat(join(dir, "leveldb", log))).size).toBeLessThan(2 ** 20);

    await using journal = await openJournal(dir, { create: false });
    const { transactions, topics, intents, size } = await journal.info();
    expect({ transactions, topics }).toEqual({ transactions: OPERATIONS, topics: 1 });
    expect(size).toBeLessThan(LIMIT);
    expect(intents.transactions).toBeLessThanOrEqual(RETENTION.keepTransactions + RETENTION.slack);
    expect(intents.transactions).toBeGreaterThanOrEqual(RETENTION.keepTransactions);
    let found = 0;
    for await (const number of journal.transactionsOf(IMAGE)) {
      found += 1;
      if (found % 1000 === 0) expect(await journal.recordsOf(number)).toHaveLength(4);
    }
    expect(found).toBe(OPERATIONS);
  },
);
