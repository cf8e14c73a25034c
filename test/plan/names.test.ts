/** Names and ids of snapshots: which one an operation means, and how one gets another name. */
import { describe, expect, test } from "vitest";
import type { ImageSpec } from "../../tools/image-maker/index.ts";
import type { MemoryDisk } from "../support/memory-disk.ts";
import { inspectImage } from "../support/naive-qcow2.ts";
import { create, given, image, refusal, remove, rename, when } from "./lab.ts";

describe("selecting a snapshot", () => {
  const twice: Partial<ImageSpec> = { snapshots: [{ name: "s" }, { name: "2" }, { name: "s" }] };

  test("an ambiguous name is refused with its candidates; an id decides", async () => {
    const disk = given(twice);
    const error = await refusal(disk, remove("s"));
    expect(error.code).toBe("SNAPSHOT_AMBIGUOUS");
    expect(error.message).toContain("id:1");
    expect(error.message).toContain("id:3");
    expect(error.details["candidates"]).toHaveLength(2);
    const { report } = await when(disk, { type: "delete", image, id: "3" });
    expect(report.snapshots.map(({ id }) => id)).toEqual(["1", "2"]);
  });

  test("qemu-img's lookups: delete takes the first of a name, apply looks at ids first", async () => {
    const first = await when(given(twice), { type: "delete", image, name: "s", lookup: "first" });
    expect(first.report.snapshots.map(({ id }) => id)).toEqual(["2", "3"]);
    const { plan } = await when(given(twice), { type: "revert", image, name: "2", lookup: "id-then-name" });
    expect(plan.outcomes[0]).toMatchObject({ snapshot: { id: "2" } });
  });

  test("an unknown name or id is refused", async () => {
    expect((await refusal(given(twice), remove("none"))).code).toBe("SNAPSHOT_NOT_FOUND");
    expect((await refusal(given(twice), { type: "revert", image, id: "9" })).code).toBe("SNAPSHOT_NOT_FOUND");
  });
});

describe("rename", () => {
  const two = (): MemoryDisk => given({ snapshots: [{ name: "one" }, { name: "two" }] });

  test("changes the name and nothing else: ids, dates, tables and their order stay", async () => {
    const disk = two();
    const before = inspectImage(disk.bytes());
    const { plan, report } = await when(disk, rename("one", "first of all"));
    expect(plan.outcomes).toMatchObject([
      { type: "rename", snapshot: { id: "1", name: "one" }, to: "first of all" },
    ]);
    expect(plan.summary).toMatchObject({ copiedFlagsChanged: 0, tablesCounted: 0 });
    expect(report.snapshots).toEqual(
      before.snapshots.map((snapshot) =>
        snapshot.id === "1" ? { ...snapshot, name: "first of all" } : snapshot,
      ),
    );
  });

  test("two snapshots change their names in one pass", async () => {
    const { report } = await when(two(), rename("one", "x"), rename("two", "one"), rename("x", "two"));
    expect(report.snapshots.map(({ id, name }) => [id, name])).toEqual([
      ["1", "two"],
      ["2", "one"],
    ]);
  });

  test("a name gets free for a new snapshot: the oldest of a rotation moves up", async () => {
    const { report } = await when(two(), rename("one", "older"), create("one"));
    expect(report.snapshots.map(({ id, name }) => [id, name])).toEqual([
      ["1", "older"],
      ["2", "two"],
      ["3", "one"],
    ]);
  });

  test.each([
    ["a name that another one has", "two", "SNAPSHOT_EXISTS"],
    ["the name that it has", "one", "SNAPSHOT_EXISTS"],
    ["no name", "", "SNAPSHOT_NAME_INVALID"],
    ["a name of 256 bytes", "ä".repeat(128), "SNAPSHOT_NAME_INVALID"],
    ["a NUL byte", "a\0b", "SNAPSHOT_NAME_INVALID"],
    ["half a character", "\uD800", "SNAPSHOT_NAME_INVALID"],
  ])("%s is refused as for a new snapshot", async (_, to, code) => {
    expect((await refusal(two(), rename("one", to))).code).toBe(code);
  });

  test("force allows a second one of a name, and none", async () => {
    const { report } = await when(two(), rename("one", "two", true), {
      type: "rename",
      image,
      id: "2",
      to: "",
      force: true,
    });
    expect(report.snapshots.map(({ name }) => name)).toEqual(["two", ""]);
  });

  test("one that is not there is refused", async () => {
    expect((await refusal(two(), rename("three", "four"))).code).toBe("SNAPSHOT_NOT_FOUND");
  });
});
