import { mkdir, realpath, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { openView } from "../../src/index.ts";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { cli, requireBuiltCommand } from "../support/command.ts";
import { must, run } from "../support/programs.ts";
import { createImage, io, rawBytes, requireQemu, tempDir } from "../support/qemu.ts";

beforeAll(async () => {
  await requireQemu();
  requireBuiltCommand();
});

const KIB = 1024;
const MAX_BEHIND = 200;

const LINK: ImageSpec = { version: 3, clusterBits: 9, virtualSize: 256 * KIB, snapshots: [], active: {} };

/** `count` files that back each other; each has one cluster of its own. */
async function chainIn(dir: string, count: number): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    const backing = index === 0 ? {} : { backing: { name: `${index - 1}.qcow2`, format: "qcow2" } };
    const changes = [{ at: index, kind: "data", seed: index + 1 }] as const;
    await writeFile(join(dir, `${index}.qcow2`), makeImage({ ...LINK, active: { changes }, ...backing }));
  }
}

async function contentOf(path: string): Promise<Uint8Array> {
  await using view = await openView(path);
  const content = new Uint8Array(view.size);
  await view.read(0, content);
  return content;
}

describe("a chain", () => {
  test("may have 200 files behind the image, and not one more", async () => {
    const dir = await tempDir();
    await chainIn(dir, MAX_BEHIND);
    const link = async (name: string, behind: string): Promise<string> => {
      const path = join(dir, name);
      await createImage(path, { backing: { file: behind, format: "qcow2" } });
      return path;
    };
    const top = await link("top.qcow2", `${MAX_BEHIND - 1}.qcow2`);
    await io(top, "write -P 9 200k 512");
    expect(Buffer.compare(await contentOf(top), await rawBytes(top))).toBe(0);
    await using view = await openView(top);
    expect(view.files).toHaveLength(MAX_BEHIND + 1);
    const higher = await link("higher.qcow2", "top.qcow2");
    await expect(openView(higher)).rejects.toMatchObject({
      code: "LIMIT_EXCEEDED",
      message: expect.stringContaining("more than 200 files behind it") as string,
    });
    // As a process has no more than 1024 descriptors by default, those of a refused chain must be closed.
    for (let count = 0; count < 6; count += 1) await expect(openView(higher)).rejects.toThrow();
    await (await openView(top)).close();
  });

  test("is found from any working directory, and from each file's own one", async () => {
    const dir = await realpath(await tempDir());
    const [low, middle, high] = ["low/base.raw", "low/deep/middle.qcow2", "high/top.qcow2"].map((name) =>
      join(dir, name),
    ) as [string, string, string];
    for (const path of [middle, high]) await mkdir(dirname(path), { recursive: true });
    await writeFile(low, Buffer.alloc(256 * KIB, 5));
    await createImage(middle, { backing: { file: "../base.raw", format: "raw" } });
    await io(middle, "write -P 6 64k 64k");
    await createImage(high, { backing: { file: "../low/deep/middle.qcow2", format: "qcow2" } });
    await io(high, "write -P 7 128k 64k");
    const expected = await rawBytes(high);
    const [program = "", ...words] = cli("export", "--force");
    for (const [cwd, image] of [
      [dir, "high/top.qcow2"],
      [join(dir, "low/deep"), "../../high/top.qcow2"],
      ["/", high],
    ] as const) {
      const out = join(dir, "out.raw");
      await must(program, [...words, image, out], { cwd });
      await must("cmp", [out, await rawFile(dir, expected)]);
    }
    await using view = await openView(high);
    expect(view.files).toEqual([high, middle, low]);
  });

  test.each([1, 2, 5])("that comes back after %i files is refused by its name, at once", async (length) => {
    const dir = await tempDir();
    await chainIn(dir, length);
    const first = join(dir, "0.qcow2");
    const last = `${length - 1}.qcow2`;
    await must("qemu-img", ["rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", last, first]);
    const [program = "", ...words] = cli("map", join(dir, last));
    const { code, stderr } = await run(program, words);
    expect(code).toBe(1);
    expect(stderr).toContain("is backed by itself");
  });

  test("that comes back under another name is refused too", async () => {
    const dir = await tempDir();
    await chainIn(dir, 2);
    await must("ln", [join(dir, "1.qcow2"), join(dir, "other.qcow2")]);
    await must("qemu-img", [
      "rebase",
      "-u",
      "-f",
      "qcow2",
      "-F",
      "qcow2",
      "-b",
      "other.qcow2",
      join(dir, "0.qcow2"),
    ]);
    await expect(openView(join(dir, "1.qcow2"))).rejects.toMatchObject({ code: "IMAGE_INVALID" });
  });
});

async function rawFile(dir: string, bytes: Uint8Array): Promise<string> {
  const path = join(dir, "expected.raw");
  await writeFile(path, bytes);
  return path;
}
