import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { openFileDisk } from "../../src/disk/index.ts";
import { diffContent, sendSnapshot } from "../../src/export/index.ts";
import { openPool, receiveStream } from "../../src/index.ts";
import { must } from "../support/programs.ts";
import { createImage, io, requireQemu, tempDir } from "../support/qemu.ts";
import { all } from "./lab.ts";
import { naiveState, openStates } from "./naive-state.ts";

beforeAll(requireQemu);

/** A disk that qemu has written to, with a snapshot after each of three nights. */
async function nights(): Promise<{ dir: string; path: string }> {
  const dir = await tempDir();
  const path = join(dir, "web.qcow2");
  await createImage(path, { size: "6M" });
  await using pool = await openPool(join(dir, ".qcowal"));
  const writes = [
    ["write -P 1 0 3M"],
    ["write -P 2 1M 64k", "write -z 2M 128k"],
    ["write -P 2 1M 64k", "write -P 9 4608k 512"],
  ];
  for (const [index, commands] of writes.entries()) {
    await io(path, ...commands);
    await pool.create(path, `night ${index}`);
  }
  await io(path, "write -P 5 5M 4k");
  return { dir, path };
}

describe("sending", () => {
  test("brings a copy from snapshot to snapshot, to what qemu-img says that the image holds", async () => {
    const { dir, path } = await nights();
    const copy = join(dir, "copy.raw");
    const steps = [
      { to: "night 0" },
      { from: "night 0", to: "night 1" },
      { from: { id: "2" }, to: "night 2" },
      { from: "night 2" },
    ];
    const lengths: number[] = [];
    for (const options of steps) {
      const frames = await all(sendSnapshot(path, naiveState, options));
      lengths.push(frames.reduce((sum, { length }) => sum + length, 0));
      await receiveStream(
        copy,
        (async function* () {
          for (const frame of frames) yield await Promise.resolve(frame);
        })(),
      );
      const expected = join(dir, "expected.raw");
      const which = options.to === undefined ? [] : ["-l", `snapshot.name=${options.to}`];
      await must("qemu-img", ["convert", ...which, "-O", "raw", path, expected]);
      expect((await readFile(copy)).equals(await readFile(expected))).toBe(true);
    }
    // The third night wrote 64 KiB again as they were: what is the same is not sent.
    expect(lengths.map((length) => Math.round(length / 1024))).toEqual(
      [3072 + 1, 65, 5, 5].map((n) => expect.closeTo(n, -1) as number),
    );
    expect(openStates()).toBe(0);
  });

  test("shares the image with readers, and with no writer", async () => {
    const { path } = await nights();
    const stream = sendSnapshot(path, naiveState, { to: "night 0" });
    await stream.next();
    await (await openFileDisk(path, "read")).close();
    await expect(openFileDisk(path, "write")).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
    await stream.return(undefined);
    const writer = await openFileDisk(path, "write");
    await expect(all(sendSnapshot(path, naiveState))).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
    await expect(all(sendSnapshot(path, naiveState, { forceShare: true }))).rejects.toThrow(TypeError);
    expect(await all(sendSnapshot(path, naiveState, { forceShare: true, to: "night 0" }))).not.toEqual([]);
    await writer.close();
    expect(openStates()).toBe(0);
  });

  test("ends when it is called off, and refuses what is fenced or not there", async () => {
    const { path } = await nights();
    const signal = AbortSignal.abort();
    await expect(all(sendSnapshot(path, naiveState, { signal }))).rejects.toMatchObject({ code: "ABORTED" });
    await expect(all(sendSnapshot(path, naiveState, { from: "none" }))).rejects.toMatchObject({
      code: "SNAPSHOT_NOT_FOUND",
    });
    const bytes = await readFile(path);
    bytes[72] = 0x40;
    await writeFile(path, bytes);
    await expect(all(sendSnapshot(path, naiveState))).rejects.toMatchObject({ code: "NEEDS_RECOVERY" });
    expect(openStates()).toBe(0);
  });
});

test("a comparison by content leaves out what was written again as it was", async () => {
  const { path } = await nights();
  expect(await all(diffContent(path, "night 1", "night 2", naiveState))).toEqual([
    { offset: 4608 << 10, length: 512 },
  ]);
  expect(await all(diffContent(path, "night 2", undefined, naiveState))).toEqual([
    { offset: 5 << 20, length: 4096 },
  ]);
  const aborted = diffContent(path, "night 1", undefined, naiveState, { signal: AbortSignal.abort() });
  await expect(all(aborted)).rejects.toMatchObject({ code: "ABORTED" });
  expect(openStates()).toBe(0);
});
