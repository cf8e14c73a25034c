import { describe, expect, test } from "vitest";
import { openJournalOn } from "../../journal/index.ts";
import { type ImageIdentity, type Observation, observe, topicsOf } from "../../src/engine/index.ts";
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

/** What is observed of `now` when the record has `then`, and nothing else is on the disk. */
async function observed(
  then: ImageIdentity,
  now: ImageIdentity,
  thenDigest?: string,
): Promise<Observation | undefined> {
  const journal = await openJournalOn(new SimulatedStore(), { dir: "/journal", create: true, topicsOf });
  if (journal === undefined) throw new Error("no journal");
  const digest = thenDigest === undefined ? {} : { digest: thenDigest, digestAfter: thenDigest };
  const body = { operations: [], actor: ACTOR, images: [{ ...then, ...digest }] };
  const number = await journal.begin(body, topicsOf({ kind: "begun", body }));
  await journal.prepare(number, { images: [] });
  await journal.commit(number);
  await journal.settle(number, { recovered: false, actor: ACTOR });
  return observe(
    journal,
    { fileId: () => Promise.reject(new Error("nothing is there")) },
    { identity: now, entries: [] },
  );
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
