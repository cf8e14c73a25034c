import { expect, test } from "vitest";
import { qcowal, qcowalJson } from "../support/in-process.ts";
import { info, judge, requireQemu } from "../support/qemu.ts";
import { Lab } from "./lab.ts";

test("a snapshot gets another name on several images, qemu reads it, and the record knows both", async () => {
  await requireQemu();
  const lab = await Lab.open({ "a.qcow2": { ...Lab.EMPTY }, "b.qcow2": Lab.EMPTY });
  const [a, b] = [lab.path("a.qcow2"), lab.path("b.qcow2")];
  expect(await qcowal("create", "old", a, b)).toMatchObject({ code: 0 });
  expect(await qcowal("create", "next", a)).toMatchObject({ code: 0 });
  const done = await qcowal("rename", "old", "golden", a, b);
  expect(done.stderr).toContain('renamed "old" to "golden" (id 1)');
  expect(done.code).toBe(0);
  expect((await info(a)).snapshots).toMatchObject([{ id: "1", name: "golden" }, { name: "next" }]);
  for (const image of [a, b]) await judge(image);

  const shown = await qcowal("history", a);
  expect(shown.stdout).toContain('rename "old" to "golden" (id 1)');
  const found = await qcowalJson<unknown[]>("history", a, "--operation", "rename", "--snapshot", "golden");
  expect(found).toHaveLength(1);
  const listed = await qcowalJson<{ name: string; parent: { name: string } | null }[]>("list", a);
  expect(listed.map(({ name, parent }) => [name, parent?.name])).toEqual([
    ["golden", undefined],
    ["next", "golden"],
  ]);
  expect((await qcowal("tree", a)).stdout).toContain('"golden" (id 1)');
  expect((await qcowal("tree", a)).stdout).toContain('was "old"');
  const tree = await qcowalJson<{ nodes: { key: string; renames: { from: string; to: string }[] }[] }>(
    "tree",
    a,
  );
  expect(tree.nodes[0]?.renames).toMatchObject([{ from: "old", to: "golden" }]);
  const status = await qcowal("status", a);
  expect(status).toMatchObject({ code: 0 });

  const refused = await qcowal("rename", "golden", "next", a, b);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("already has a snapshot");
  expect(await lab.names("b.qcow2")).toEqual(["golden"]);
});
