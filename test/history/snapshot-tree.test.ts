import { describe, expect, test } from "vitest";
import { type HistoryEntry, type SnapshotTree, snapshotTree } from "../../src/history/index.ts";
import { IMAGE, created, deleted, entry, facts, renamed, reverted, seen } from "./entries.ts";

const tree = (...entries: readonly HistoryEntry[]): SnapshotTree => snapshotTree(entries, IMAGE);
const EMPTY = seen(1, "first seen", []);

/** Each snapshot by its name, with the name of what it was taken from. */
function shape({ nodes, live, current }: SnapshotTree): unknown {
  const nameOf = (key: string | null | undefined): string =>
    key === undefined
      ? "?"
      : key === null
        ? "-"
        : (nodes.find((node) => node.key === key)?.snapshot.name ?? "!");
  return {
    live: live.map(nameOf),
    parents: Object.fromEntries(nodes.map(({ snapshot, parent }) => [snapshot.name, nameOf(parent)])),
    current: nameOf(current),
  };
}

describe("the tree of snapshots", () => {
  test("a snapshot is taken from what the disk was made from, and the disk goes on from it", () => {
    const [a, b, c] = [facts(1, "a"), facts(2, "b"), facts(3, "c")];
    expect(shape(tree(EMPTY, created(2, a), created(3, b), reverted(4, a), created(5, c)))).toEqual({
      live: ["a", "b", "c"],
      parents: { a: "-", b: "a", c: "a" },
      current: "c",
    });
  });

  test("what is deleted stays with all its facts, and what was taken from it says so", () => {
    const [a, b] = [facts(1, "a"), facts(2, "b")];
    const result = tree(EMPTY, created(2, a), created(3, b), deleted(4, a));
    expect(shape(result)).toEqual({ live: ["b"], parents: { a: "-", b: "a" }, current: "b" });
    expect(result.nodes[0]).toMatchObject({ snapshot: a, gone: { how: "deleted", transaction: 4 } });
  });

  test("an id that is used again is another snapshot", () => {
    const [old, young] = [facts(1, "a"), facts(1, "a", 99)];
    const result = tree(EMPTY, created(2, old), deleted(3, old), created(4, young), deleted(5, young));
    expect(result.nodes.map(({ key, gone }) => [key, gone?.transaction])).toEqual([
      ["2.1", 3],
      ["4.1", 5],
    ]);
  });

  test("a snapshot that is renamed is the same one, and so it is in a backup from before", () => {
    const [a, b] = [facts(1, "a"), facts(2, "b")];
    const entries = [EMPTY, created(2, a), created(3, b), renamed(4, a, "golden")];
    const result = tree(...entries);
    expect(shape(result)).toEqual({
      live: ["golden", "b"],
      parents: { golden: "-", b: "golden" },
      current: "b",
    });
    expect(result.nodes[0]).toMatchObject({
      key: "2.1",
      renames: [{ from: "a", to: "golden", transaction: 4 }],
    });
    const restored = tree(...entries, seen(5, "replaced", [a, b], { as: 3 }));
    expect(restored.nodes).toHaveLength(2);
    expect(shape(restored)).toEqual({ live: ["a", "b"], parents: { a: "-", b: "a" }, current: "b" });
  });

  test("a name that two had in turn is that of the one that has it", () => {
    const [a, b] = [facts(1, "a", 5), facts(1, "b", 5)];
    const result = tree(
      EMPTY,
      created(2, a),
      created(3, b),
      renamed(4, a, "old"),
      renamed(5, b, "a"),
      deleted(6, facts(1, "a", 5)),
    );
    expect(result.live).toEqual(["2.1"]);
  });

  test("refused, failed and undone operations change nothing", () => {
    const statuses = ["refused", "failed", "called off", "aborted by recovery", "pending"] as const;
    const entries = statuses.map((status, index) => created(index + 2, facts(1, "a"), { status }));
    expect(shape(tree(EMPTY, ...entries))).toEqual({ live: [], parents: {}, current: "-" });
  });

  test("of snapshots that were found nobody knows what they were taken from", () => {
    expect(shape(tree(seen(1, "first seen", [facts(1, "a")]), created(2, facts(2, "b"))))).toEqual({
      live: ["a", "b"],
      parents: { a: "?", b: "?" },
      current: "b",
    });
  });

  test("after others were at work nobody knows where the disk stands", () => {
    const [a, theirs] = [facts(1, "a"), facts(2, "theirs")];
    const result = tree(EMPTY, created(2, a), seen(3, "changed", [theirs]));
    expect(shape(result)).toEqual({ live: ["theirs"], parents: { a: "-", theirs: "?" }, current: "?" });
    expect(result.nodes[0]?.gone).toEqual({ how: "vanished", transaction: 3, time: 180_000 });
  });

  test("a backup that was put back brings back what was deleted since, and where the disk stood", () => {
    const [a, b] = [facts(1, "a"), facts(2, "b")];
    const entries = [EMPTY, created(2, a), created(3, b), deleted(4, a)];
    expect(shape(tree(...entries, seen(5, "replaced", [a], { as: 2 })))).toEqual({
      live: ["a"],
      parents: { a: "-", b: "a" },
      current: "a",
    });
  });

  test("another file in its place has nothing to do with what was there, even with the same names", () => {
    const a = facts(1, "a");
    const result = tree(EMPTY, created(2, a), seen(3, "replaced", [a]));
    expect(result.nodes.map(({ gone, origin }) => [origin, gone?.how])).toEqual([
      ["created", "replaced"],
      ["found", undefined],
    ]);
    expect(result.live).toEqual(["3.1"]);
  });

  test("a moved image has the tree that it had, not that of what was in its place", () => {
    const [a, b, other] = [facts(1, "a"), facts(2, "b"), facts(1, "other")];
    const from = "/vms/old.qcow2";
    const entries = [
      entry(1, { image: from, status: "observed", observed: { what: "first seen", snapshots: [] } }),
      created(2, a, { image: from }),
      created(3, other),
      seen(4, "moved", [a], { from }),
      created(5, b),
      created(6, facts(7, "newcomer"), { image: from }),
    ];
    expect(shape(snapshotTree(entries, IMAGE))).toEqual({
      live: ["a", "b"],
      parents: { a: "-", b: "a" },
      current: "b",
    });
  });

  test("two names of one file share one tree", () => {
    const [a, b, c] = [facts(1, "a"), facts(2, "b"), facts(3, "c")];
    const second = "/vms/b.qcow2";
    const entries = [
      EMPTY,
      created(2, a),
      entry(3, {
        image: second,
        observed: { what: "linked", from: IMAGE, snapshots: [a] },
        outcome: { type: "create", snapshot: b },
      }),
      seen(4, "linked", [a, b], { from: second }),
      created(5, c),
    ];
    const expected = { live: ["a", "b", "c"], parents: { a: "-", b: "a", c: "b" }, current: "c" };
    expect(shape(snapshotTree(entries, second))).toEqual(expected);
    expect(shape(snapshotTree(entries, IMAGE))).toEqual(expected);
  });

  test("an end that an image contradicts leaves open where the disk stands", () => {
    expect(tree(EMPTY, created(2, facts(1, "a"), { status: "unconfirmed" })).current).toBeUndefined();
  });

  test("of a list that was cut nothing counts as vanished", () => {
    const [a, b] = [facts(1, "a"), facts(2, "b")];
    const result = tree(EMPTY, created(2, a), created(3, b), seen(4, "changed", [b], { unlisted: 9 }));
    expect(result).toMatchObject({ live: ["3.1"], unlisted: 9 });
    expect(result.nodes[0]).not.toHaveProperty("gone");
  });

  test("records of an earlier version, without dates and observations, are understood as far as they go", () => {
    const [a, b] = [
      { id: "1", name: "a" },
      { id: "2", name: "b" },
    ];
    expect(shape(tree(created(2, a), created(3, b), deleted(4, a)))).toEqual({
      live: ["b"],
      parents: { a: "?", b: "a" },
      current: "b",
    });
  });

  test("nothing recorded: nothing known", () => {
    expect(tree()).toEqual({ nodes: [], live: [], unlisted: 0, current: undefined, asOf: undefined });
  });
});
