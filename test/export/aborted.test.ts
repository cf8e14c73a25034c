/** Whatever reads can be called off: at once, and with everything closed. */
import { readdirSync } from "node:fs";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import {
  type ChunkOptions,
  type View,
  checkImage,
  cloneImage,
  contentDigest,
  diffContent,
  diffHistory,
  diffSnapshots,
  openPool,
  openView,
  receiveStream,
  sendSnapshot,
  writeQcow2,
  writeRaw,
} from "../../src/index.ts";
import { openFileDisk } from "../../src/disk/index.ts";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { requireQemu, tempDir } from "../support/qemu.ts";
import { all } from "./lab.ts";

beforeAll(requireQemu);

/** Chunks and tables enough that no call ends within its first step. */
const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 12,
  virtualSize: 24 << 20,
  snapshots: [{ name: "one", changes: [{ at: 0, count: 3000, kind: "data", seed: 1 }] }],
  active: { changes: [{ at: 50, count: 5900, kind: "data", seed: 3 }] },
  backing: { name: "base.raw", format: "raw" },
};

type How = Pick<ChunkOptions, "signal" | "onProgress">;

async function onView(path: string, how: How, read: (view: View) => Promise<unknown>): Promise<void> {
  await using view = await openView(path, how.signal === undefined ? {} : { signal: how.signal });
  await read(view);
}

/** Reads as it comes, and tells of it in the place of a progress report where there is none. */
async function told(items: AsyncIterable<unknown>, { onProgress }: How): Promise<void> {
  let count = 0;
  for await (const _ of items) onProgress?.((count += 1), 0);
}

const CALLS: Readonly<Record<string, (dir: string, how: How) => Promise<unknown>>> = {
  chunks: (dir, how) => onView(join(dir, "a.qcow2"), how, (view) => all(view.chunks(0, view.size, how))),
  "the stream": (dir, how) =>
    onView(join(dir, "a.qcow2"), how, (view) => all(view.stream(0, view.size, how))),
  extents: (dir, how) =>
    onView(join(dir, "a.qcow2"), how, (view) => told(view.extents(0, view.size, how), how)),
  writeRaw: (dir, how) =>
    onView(join(dir, "a.qcow2"), how, (view) => writeRaw(view, join(dir, "out.raw"), how)),
  writeQcow2: (dir, how) =>
    onView(join(dir, "a.qcow2"), how, (view) => writeQcow2(view, join(dir, "out.qcow2"), how)),
  checkImage: (dir, how) => checkImage(join(dir, "a.qcow2"), how),
  diffSnapshots: (dir, how) => all(diffSnapshots(join(dir, "a.qcow2"), "one", undefined, how)),
  diffHistory: (dir, how) => all(diffHistory(join(dir, "a.qcow2"), how)),
  diffContent: (dir, how) => all(diffContent(join(dir, "a.qcow2"), "one", undefined, openView, how)),
  sendSnapshot: (dir, how) => all(sendSnapshot(join(dir, "a.qcow2"), openView, { from: "one", ...how })),
  receiveStream: (dir, { signal, onProgress }) =>
    receiveStream(join(dir, "out.raw"), join(dir, "stream"), {
      ...(signal === undefined ? {} : { signal }),
      onProgress: (_phase, done, total) => onProgress?.(done, total ?? 0),
    }),
  cloneImage: (dir, how) =>
    cloneImage(join(dir, "a.qcow2"), join(dir, "out.qcow2"), { snapshot: "one", ...how }),
};

const descriptors = (): number => readdirSync("/proc/self/fd").length;

async function lab(): Promise<string> {
  const dir = await tempDir();
  await writeFile(join(dir, "base.raw"), Buffer.alloc(1 << 20, 7));
  const path = join(dir, "a.qcow2");
  await writeFile(path, makeImage(SPEC));
  await writeFile(join(dir, "stream"), Buffer.concat(await all(sendSnapshot(path, openView, { to: "one" }))));
  return dir;
}

describe.each(Object.keys(CALLS))("%s", (name) => {
  const call = CALLS[name] as (typeof CALLS)[string];

  test("ends when it is called off, before and in the middle, and closes and removes everything", async () => {
    const dir = await lab();
    const names = await readdir(dir);
    const before = descriptors();
    const early = call(dir, { signal: AbortSignal.abort("too late") });
    await expect(early).rejects.toMatchObject({ code: "ABORTED", cause: "too late" });
    const controller = new AbortController();
    let reports = 0;
    const middle = call(dir, {
      signal: controller.signal,
      onProgress: () => {
        reports += 1;
        controller.abort("enough");
      },
    });
    await expect(middle).rejects.toMatchObject({ code: "ABORTED", cause: "enough" });
    // What was under way ends, up to six windows at a time; nothing is begun any more.
    expect(reports).toBeGreaterThan(0);
    expect(reports).toBeLessThan(8);
    await expect.poll(descriptors).toBe(before);
    expect(await readdir(dir)).toEqual(names);
    await (await openFileDisk(join(dir, "a.qcow2"), "write")).close();
  });
});

test("who leaves a reader early leaves nothing open", async () => {
  const dir = await lab();
  const path = join(dir, "a.qcow2");
  const before = descriptors();
  const first = async (items: AsyncIterable<unknown>): Promise<void> => {
    for await (const _ of items) break;
  };
  for (let count = 0; count < 20; count += 1) {
    await using view = await openView(path);
    await first(view.chunks());
    await first(view.extents());
    await first(view.stream());
    await first(diffSnapshots(path, "one"));
    await first(diffHistory(path));
    await first(sendSnapshot(path, openView, { from: "one" }));
  }
  await expect.poll(descriptors).toBe(before);
});

test("a pool's views are called off by its signal, and digests by what their caller throws", async () => {
  const dir = await lab();
  await using pool = await openPool(join(dir, ".qcowal"));
  const signal = AbortSignal.abort();
  await expect(pool.view(join(dir, "a.qcow2"), "one", { signal })).rejects.toMatchObject({ code: "ABORTED" });
  await using view = await pool.view(join(dir, "a.qcow2"), "one");
  const digest = contentDigest(view, () => {
    throw new Error("enough");
  });
  await expect(digest).rejects.toThrow("enough");
});
