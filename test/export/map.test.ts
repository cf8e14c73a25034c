import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { openView } from "../../src/index.ts";
import { parseImageAt } from "../../src/cli/image-at.ts";
import { mapJson, mapTable } from "../../src/cli/views/map.ts";
import { must } from "../support/programs.ts";
import { createImage, io, requireQemu, snapshotCreate, tempDir } from "../support/qemu.ts";

beforeAll(requireQemu);

const MIB = 1024 * 1024;

async function textOf(lines: AsyncIterable<string>): Promise<string> {
  const all: string[] = [];
  for await (const line of lines) all.push(line);
  return all.join("\n");
}

async function ours(path: string, snapshot?: string): Promise<string> {
  await using view = await openView(path, snapshot === undefined ? {} : { snapshot });
  return await textOf(mapJson(view.extents()));
}

/** QEMU tells compressed clusters apart since 8.2. */
const comparable = (json: string): unknown =>
  (JSON.parse(json) as Record<string, unknown>[]).map(({ compressed, ...entry }) => {
    expect([undefined, true, false]).toContain(compressed);
    return entry;
  });

describe("a map", () => {
  test.each([
    ["plain clusters", { options: {} }],
    ["subclusters", { options: { extended_l2: "on", cluster_size: "64k" } }],
    ["version 2", { options: { compat: "0.10" } }],
  ])("of %s is that of qemu, and that of a snapshot is what it was", async (_, { options }) => {
    const dir = await tempDir();
    const base = join(dir, "base.qcow2");
    await createImage(base, { size: 3 * MIB });
    await io(base, "write -P 1 0 300k", "write -P 2 1M 64k");
    const path = join(dir, "a.qcow2");
    await createImage(path, { size: 4 * MIB, options, backing: { file: "base.qcow2", format: "qcow2" } });
    await io(path, "write -P 3 64k 70k", "write -z 256k 8k", "write -P 4 1M 6k", "write -z 3M 128k");
    const before = await must("qemu-img", ["map", "--output=json", path]);
    expect(comparable(await ours(path))).toEqual(comparable(before));
    await snapshotCreate(path, "one");
    await io(path, "write -P 5 0 4M");
    expect(comparable(await ours(path, "one"))).toEqual(comparable(before));
    const after = await must("qemu-img", ["map", "--output=json", path]);
    expect(comparable(await ours(path))).toEqual(comparable(after));
    await using view = await openView(path);
    expect(`${await textOf(mapTable(view.extents(), view.files))}\n`).toBe(
      await must("qemu-img", ["map", path]),
    );
  });

  test("of an empty disk is an empty list", async () => {
    const path = join(await tempDir(), "a.qcow2");
    await createImage(path, { size: 0 });
    expect(JSON.parse(await ours(path))).toEqual([]);
  });
});

test("IMAGE@SNAPSHOT is taken apart where the files say so", () => {
  const among =
    (...files: string[]) =>
    (path: string): boolean =>
      files.includes(path);
  expect(parseImageAt("a@b", among("a"))).toEqual({ image: "a", snapshot: "b" });
  expect(parseImageAt("a@b", among("a", "a@b"))).toEqual({ image: "a@b" });
  expect(parseImageAt("a@b@id:7", among("a", "a@b"))).toEqual({ image: "a@b", snapshot: { id: "7" } });
  expect(parseImageAt("a@b", among())).toEqual({ image: "a@b" });
  expect(parseImageAt("@b", among(""))).toEqual({ image: "@b" });
});
