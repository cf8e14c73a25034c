import { beforeAll, describe, expect, test } from "vitest";
import { expiredSnapshots, listSnapshots, openPool, parseDeletedName } from "../../src/index.ts";
import { qcowal, qcowalJson } from "../support/in-process.ts";
import { info, io, judge, requireQemu, snapshotDelete } from "../support/qemu.ts";
import { inspectImage, logicalState } from "../support/naive-qcow2.ts";
import { Lab, SPEC } from "./lab.ts";

beforeAll(requireQemu);

const state = async (lab: Lab, image = "a.qcow2"): Promise<unknown> =>
  logicalState(inspectImage(await lab.bytes(image)));

async function must(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await qcowal(...args);
  if (code !== 0) throw new Error(`qcowal ${args.join(" ")} ended with ${code}: ${stderr}`);
  return stdout + stderr;
}

async function impossible(why: RegExp, ...args: readonly string[]): Promise<void> {
  const { code, stderr } = await qcowal("undo", ...args, "--json");
  expect(code).toBe(1);
  const { error } = JSON.parse(stderr) as { error: { code: string; message: string } };
  expect(error).toEqual({
    code: "UNDO_IMPOSSIBLE",
    message: expect.stringMatching(why),
    details: expect.anything(),
  });
}

describe("undo", () => {
  test.each([
    ["a create", ["create", "new"]],
    ["a rename", ["rename", "one", "other"]],
    ["a recoverable delete", ["delete", "one", "--recoverable"]],
    ["a revert that kept the disk", ["revert", "one", "--keep", "kept"]],
  ])(
    "of %s leaves all images as they were, refers to it in the record, and can be undone itself",
    async (_, [verb = "", ...rest]) => {
      const lab = await Lab.open({ "a.qcow2": SPEC, "b.qcow2": SPEC });
      const images = [lab.path("a.qcow2"), lab.path("b.qcow2")];
      const words = rest.filter((word) => !word.startsWith("-") && word !== "kept");
      const options = rest.filter((word) => !words.includes(word));
      const before = [await state(lab), await state(lab, "b.qcow2")];
      await must(verb, ...words, ...images, ...options);
      expect([await state(lab), await state(lab, "b.qcow2")]).not.toEqual(before);
      const dry = await must("undo", images[1] ?? "", "--dry-run");
      expect(dry).toContain("would");
      await must("undo", images[1] ?? "");
      expect([await state(lab), await state(lab, "b.qcow2")]).toEqual(before);
      for (const image of images) await judge(image);
      const entries = await qcowalJson<{ transaction: number; undoes?: number }[]>(
        "history",
        images[0] ?? "",
      );
      expect(entries[1]?.undoes).toBe(entries[0]?.transaction);
      expect(await must("history", images[0] ?? "")).toContain(
        `undid transaction ${entries[0]?.transaction}`,
      );
      await impossible(/has undone it already/, images[0] ?? "", String(entries[0]?.transaction));
    },
  );

  test("goes back step by step, and says when there is no more", async () => {
    const lab = await Lab.open();
    const image = lab.path("a.qcow2");
    const before = await state(lab);
    await must("create", "x", image);
    await must("rename", "x", "y", image);
    await must("undo", image);
    await must("undo", image);
    expect(await state(lab)).toEqual(before);
    const { code, stderr } = await qcowal("undo", image);
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining("nothing of") });
  });

  test("of what came earlier works where the snapshot is as it was left, and is refused where it is not", async () => {
    const lab = await Lab.open();
    const image = lab.path("a.qcow2");
    await must("delete", "one", image, "--recoverable=30d");
    const [{ transaction } = { transaction: 0 }] = await qcowalJson<{ transaction: number }[]>(
      "history",
      image,
    );
    await must("create", "one", image);
    await impossible(/another snapshot "one" by now/, image, String(transaction));
    await must("rename", "one", "new one", image);
    await must("undo", image, String(transaction));
    expect(await lab.names()).toEqual(["one", "two", "new one"]);
    await must("create", "z", image);
    await snapshotDelete(image, "z");
    await impossible(/no longer has the snapshot "z"/, image);
  });

  test("of what lost data says what was lost", async () => {
    const lab = await Lab.open();
    const image = lab.path("a.qcow2");
    await must("revert", "one", image);
    await impossible(/before its revert was not kept/, image);
    await must("delete", "two", image);
    await impossible(/deleted the snapshot "two" for good/, image);
    await must("repair", image);
    await must("revert", "one", image, "--keep", "kept");
    const [newest] = await qcowalJson<{ transaction: number }[]>("history", image, "--reverse");
    await must("create", "later", image);
    await impossible(/came after it; undo that first/, image, String(newest?.transaction));
  });

  test("of a hold releases it, and of a release holds again for the same reason", async () => {
    const lab = await Lab.open();
    const image = lab.path("a.qcow2");
    const holds = async (): Promise<unknown[]> =>
      (await qcowalJson<{ holds?: string[] }[]>("list", image)).map(({ holds: tags }) => tags);
    await must("create", "three", image);
    await must("hold", "one", image, "--tag", "audit", "--reason", "until May");
    const entries = await qcowalJson<{ transaction: number; undoes?: number }[]>("history", image);
    const held = entries.at(-1)?.transaction ?? 0;
    expect(await must("undo", image, "--dry-run")).toMatch(/would release one as audit/);
    expect(await holds()).toEqual([["audit"], undefined, undefined]);
    expect(await must("undo", image)).toMatch(/released one as audit/);
    expect(await holds()).toEqual([undefined, undefined, undefined]);
    expect(await must("history", image)).toContain(`undid transaction ${held}`);
    await impossible(/has undone it already/, image, String(held));
    await must("hold", "one", image, "--tag", "audit", "--reason", "until May");
    await must("release", "one", image, "--tag", "audit");
    const undone = await qcowalJson<{ hold: { verb: string; images: { transaction: number }[] } }>(
      "undo",
      image,
    );
    expect(undone.hold).toMatchObject({
      verb: "hold",
      tag: "audit",
      images: [{ snapshot: { name: "one" } }],
    });
    expect(await holds()).toEqual([["audit"], undefined, undefined]);
    const [last] = await qcowalJson<{ transaction: number; reason?: string }[]>("history", image, "-r");
    expect(last).toMatchObject({ transaction: undone.hold.images[0]?.transaction, reason: "until May" });
    await must("release", "one", image, "--tag", "audit");
    await must("delete", "--id", "1", image, "--recoverable");
    await impossible(/by now it is otherwise: .* is not held as audit/, image, String(held + 2));
  });

  test("of a revert can keep what was written since", async () => {
    const lab = await Lab.open();
    const image = lab.path("a.qcow2");
    await must("revert", "one", image, "--keep", "kept");
    await io(image, "write -P 0x77 0 64k");
    await must("undo", image, "--keep", "since then");
    expect(await lab.names()).toEqual(["one", "two", "since then"]);
    await must("revert", "since then", image);
    await io(image, "read -P 0x77 0 64k");
  });
});

describe("a recoverable delete", () => {
  test("hides the snapshot under a name that says until when, which pure functions read", async () => {
    const lab = await Lab.open();
    const image = lab.path("a.qcow2");
    const start = Date.now();
    await using pool = await openPool(lab.path(".qcowal"));
    await pool.delete(image, "one", { recoverableFor: 60_000 });
    const snapshots = await listSnapshots(image);
    const deleted = parseDeletedName(snapshots[0]?.name ?? "");
    expect(deleted?.name).toBe("one");
    expect(deleted?.until).toBeGreaterThanOrEqual(start + 60_000);
    expect(deleted?.until).toBeLessThan(Date.now() + 62_000);
    expect(expiredSnapshots(snapshots, start)).toEqual([]);
    expect(expiredSnapshots(snapshots, start + 70_000).map(({ id }) => id)).toEqual(["1"]);
    expect((await info(image)).snapshots).toMatchObject([{ id: "1" }, { id: "2", name: "two" }]);
    await pool.close();
    expect(await lab.names()).toEqual(["two"]);
    const all = await qcowalJson<{ name: string }[]>("list", image, "--all");
    expect(all.map(({ name }) => parseDeletedName(name)?.name)).toEqual(["one", undefined]);
    expect((await qcowal("list", image)).stderr).toContain("1 deleted snapshot can be brought back");
    const tree = await must("tree", image);
    expect(tree).not.toContain('"one"');
    expect(tree).toContain("1 deleted snapshot can be brought back");
    const shown = await must("tree", "--all", image);
    expect(shown).toMatch(/× "one" \(id 1\) .*deleted, kept until 20/);
    expect(shown).not.toContain(".deleted/");
    for (const output of ["dot", "svg"]) {
      expect(await must("tree", "--all", "--output", output, image)).not.toContain(".deleted/");
    }
    const { nodes } = await qcowalJson<{ nodes: { deleted?: { name: string } }[] }>("tree", image);
    expect(nodes.map(({ deleted: kept }) => kept?.name)).toEqual(["one", undefined]);
    expect(await must("blame", image, "one")).toMatch(
      /^"one" \(id 1\)\n.*deleted +20.*\[transaction \d+\]\n  state +deleted, kept until/s,
    );
    expect(await must("undo", image, "--dry-run")).toContain('would bring back "one" (id 1)');
    expect(await must("undo", image)).toContain('brought back "one" (id 1)');
    await must("rename", "two", "second", image);
    expect(await must("blame", image, "two")).toMatch(/^"second" .*renamed +20.*"two" to "second"$/ms);
    await must("rename", "second", "two", image);
    expect(await must("tree", image)).not.toMatch(/was "one"|brought back/);
    await must("delete", "one", image, "--recoverable=1d");
    const again = await qcowalJson<{ name: string }[]>("list", image, "--all");
    await must("delete", again[0]?.name ?? "", image);
    expect(await qcowalJson("list", image, "--all")).toHaveLength(1);
  });

  test("is refused where the name gets too long, and nobody takes such a name by hand", async () => {
    const lab = await Lab.open();
    const image = lab.path("a.qcow2");
    await must("create", "x".repeat(226), image);
    const long = await qcowal("delete", "x".repeat(226), image, "--recoverable");
    expect(long).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("has at most 255 bytes, this one has 256"),
    });
    const name = ".deleted/2030-01-01T00:00:00Z/x";
    expect(await qcowal("create", name, image)).toMatchObject({ code: 1 });
    expect(await qcowal("rename", "one", name, image)).toMatchObject({ code: 1 });
    await must("create", ".deleted/x", image);
  });
});
