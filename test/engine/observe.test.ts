import { describe, expect, test } from "vitest";
import { type Journal, openJournalOn } from "../../journal/index.ts";
import type { BegunImage } from "../../src/engine/bodies.ts";
import {
  type ImageIdentity,
  type Observation,
  observe,
  NO_SNAPSHOTS,
  tableDigest,
  topicsOf,
} from "../../src/engine/index.ts";
import type { SnapshotEntry } from "../../src/format/index.ts";
import { SimulatedStore } from "../support/simulated-store.ts";

const ACTOR = { user: "me", host: "here", pid: 1, program: "test" };
const PATH = "/vms/a.qcow2";

const identity = (more: Partial<ImageIdentity> = {}): ImageIdentity => ({
  path: PATH,
  device: 1,
  inode: 7,
  fingerprint: "",
  ...more,
});

const NOTHING_THERE = { fileId: () => Promise.reject(new Error("nothing is there")) };

async function newJournal(): Promise<Journal> {
  const journal = await openJournalOn(new SimulatedStore(), { dir: "/journal", create: true, topicsOf });
  if (journal === undefined) throw new Error("no journal");
  return journal;
}

/** A transaction on an image. */
async function record(journal: Journal, image: BegunImage): Promise<void> {
  const body = { operations: [], actor: ACTOR, images: [image] };
  const number = await journal.begin(body, topicsOf({ kind: "begun", body }));
  await journal.prepare(number, { images: [] });
  await journal.commit(number);
  await journal.settle(number, { recovered: false, actor: ACTOR });
}

/** What is observed of `now` when the record has `then`, and nothing else is on the disk. */
async function observed(
  then: ImageIdentity,
  now: ImageIdentity,
  thenDigest?: string,
): Promise<Observation | undefined> {
  const journal = await newJournal();
  const digest = thenDigest === undefined ? {} : { digest: thenDigest, digestAfter: thenDigest };
  await record(journal, { ...then, ...digest });
  return observe(journal, NOTHING_THERE, { identity: now, entries: [] });
}

describe("a file is told from another", () => {
  test("a record of an earlier version does not say when the file was made: it is no other for that", async () => {
    expect(await observed(identity(), identity({ born: 5 }))).toMatchObject({ what: "listed" });
  });

  test("the same inode, made at another time: another file", async () => {
    expect(await observed(identity({ born: 4 }), identity({ born: 5 }))).toMatchObject({ what: "replaced" });
    const elsewhere = identity({ born: 5, path: "/vms/b.qcow2" });
    expect(await observed(identity({ born: 4 }), elsewhere)).toMatchObject({ what: "first seen" });
  });

  test("another device, as after the machine has started again: the same file", async () => {
    expect(await observed(identity({ born: 5 }), identity({ born: 5, device: 9 }), "x")).toMatchObject({
      what: "changed",
    });
  });

  test("moved: made at the same time; where nobody knows that, only with the same snapshots", async () => {
    const there = { path: "/vms/b.qcow2" };
    const moved = { what: "moved", from: PATH };
    expect(await observed(identity({ born: 5 }), identity({ born: 5, ...there }), "x")).toMatchObject(moved);
    expect(await observed(identity(), identity(there), "x")).toMatchObject({ what: "first seen" });
    const empty = (await observed(identity({ inode: 1 }), identity(there)))?.digest;
    expect(await observed(identity(), identity(there), empty)).toMatchObject(moved);
  });
});

test("a new image is compared with few, however many have had the same snapshots", async () => {
  const text = (words: string): Uint8Array => new TextEncoder().encode(words);
  const entry: SnapshotEntry = {
    l1TableOffset: 0n,
    l1Size: 1,
    id: text("1"),
    name: text("template"),
    dateSec: 1,
    dateNsec: 2,
    vmClockNsec: 0n,
    vmStateSize: 0n,
    diskSize: undefined,
    icount: undefined,
    unknownExtra: new Uint8Array(0),
  };
  const digest = tableDigest([entry]);
  const journal = await newJournal();
  for (let disk = 0; disk < 200; disk += 1) {
    const there = identity({ path: `/vms/${disk}.qcow2`, inode: 100 + disk, born: disk });
    // It was made from the template too, as was seen then, and has another snapshot since.
    const observed = { what: "first seen", snapshots: [], digest } as const;
    await record(journal, { ...there, observed, digest, digestAfter: `other ${disk}` });
  }
  let read = 0;
  const recordsOf = (number: number): ReturnType<typeof journal.recordsOf> => {
    read += 1;
    return journal.recordsOf(number);
  };
  const counting = new Proxy(journal, {
    get: (target, key) => {
      if (key === "recordsOf") return recordsOf;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? (value as () => unknown).bind(target) : value;
    },
  });
  const seen = { identity: identity({ path: "/vms/new.qcow2", inode: 9, born: 1000 }), entries: [entry] };
  expect(await observe(counting, NOTHING_THERE, seen)).toMatchObject({ what: "first seen" });
  expect(read).toBeGreaterThan(5);
  expect(read).toBeLessThan(40);
});

test("an image without snapshots is known by the digest of an empty table", () => {
  expect(NO_SNAPSHOTS).toBe(tableDigest([]));
});
