/** What a view without locks (`-U`) reads while operations of ours, or a VM, change the image: what was there when it was opened, or an error. */
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { openFileDisk } from "../../src/disk/index.ts";
import { type Pool, diffSnapshots, openPool, openView, sendSnapshot } from "../../src/index.ts";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { Lab } from "../cli/lab.ts";
import { readRoot } from "../support/naive-qcow2.ts";
import { run } from "../support/programs.ts";
import { io, requireQemu, snapshotCreate, tempDir } from "../support/qemu.ts";
import { Vm } from "../support/vm.ts";
import { requireBuiltCommand } from "../support/command.ts";
import { all } from "./lab.ts";

beforeAll(async () => {
  await requireQemu();
  requireBuiltCommand();
});

const SHARED = { forceShare: true } as const;

const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 12,
  virtualSize: 4 << 20,
  snapshots: [
    { name: "one", changes: [{ at: 0, count: 400, kind: "data", seed: 1 }] },
    { name: "two", changes: [{ at: 100, count: 600, kind: "data", seed: 2 }] },
  ],
  active: { changes: [{ at: 50, count: 900, kind: "data", seed: 3 }] },
};

async function lab(): Promise<{ path: string; bytes: Buffer; pool: Pool }> {
  const dir = await tempDir();
  const path = join(dir, "a.qcow2");
  const bytes = Buffer.from(makeImage(SPEC));
  await writeFile(path, bytes);
  return { path, bytes, pool: await openPool(join(dir, ".qcowal")) };
}

async function contentOf(view: Awaited<ReturnType<typeof openView>>): Promise<Buffer> {
  const content = Buffer.alloc(view.size);
  await view.read(0, content);
  return content;
}

describe("a view without locks", () => {
  test("of a snapshot outlives other operations, and ends when the snapshot goes", async () => {
    const { path, bytes, pool } = await lab();
    await using _ = pool;
    await using view = await openView(path, { snapshot: "one", ...SHARED });
    await pool.create(path, "three");
    await pool.revert(path, "two");
    await pool.delete(path, "two");
    await pool.rename(path, "one", "renamed");
    expect(Buffer.compare(await contentOf(view), readRoot(bytes, 0))).toBe(0);
    await pool.delete(path, "renamed");
    const gone = {
      code: "SNAPSHOT_NOT_FOUND",
      message: expect.stringContaining("was deleted while") as string,
    };
    await expect(view.read(0, Buffer.alloc(1))).rejects.toMatchObject(gone);
    // One of the same name, in the same place of the table, is another one.
    await pool.create(path, "renamed");
    await expect(view.read(0, Buffer.alloc(1))).rejects.toMatchObject(gone);
  });

  test("of the disk outlives operations that leave it, and ends with a revert", async () => {
    const { path, bytes, pool } = await lab();
    await using _ = pool;
    await using view = await openView(path, SHARED);
    await pool.create(path, "three");
    await pool.delete(path, "one");
    expect(Buffer.compare(await contentOf(view), readRoot(bytes, "active"))).toBe(0);
    await pool.revert(path, "two");
    await expect(view.read(0, Buffer.alloc(1))).rejects.toMatchObject({ code: "IMAGE_CHANGED" });
    await expect(all(view.extents())).rejects.toMatchObject({ code: "IMAGE_CHANGED" });
    await using now = await openView(path, SHARED);
    expect(Buffer.compare(await contentOf(now), readRoot(bytes, 1))).toBe(0);
  });

  test("through a backing file ends with a revert of that one", async () => {
    const { path, pool } = await lab();
    await using _ = pool;
    const top = join(path, "..", "top.qcow2");
    await writeFile(
      top,
      makeImage({ ...SPEC, snapshots: [], active: {}, backing: { name: "a.qcow2", format: "qcow2" } }),
    );
    await using view = await openView(top, SHARED);
    await contentOf(view);
    await pool.revert(path, "one");
    await expect(view.read(0, Buffer.alloc(4096))).rejects.toMatchObject({ code: "IMAGE_CHANGED" });
  });

  test("waits for an operation to end, and not for ever", { timeout: 20_000 }, async () => {
    const { path, bytes, pool } = await lab();
    await pool.close();
    await using view = await openView(path, { snapshot: "one", ...SHARED });
    const disk = await openFileDisk(path, "write");
    const features = bytes.subarray(72, 80);
    await disk.write(72, Buffer.from([0x40]));
    let isOver = false;
    const reading = contentOf(view).finally(() => {
      isOver = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(isOver).toBe(false);
    await disk.write(72, features);
    expect(Buffer.compare(await reading, readRoot(bytes, 0))).toBe(0);
    await disk.write(72, Buffer.from([0x40]));
    await expect(view.read(0, Buffer.alloc(1))).rejects.toMatchObject({ code: "NEEDS_RECOVERY" });
    await disk.close();
  });

  test("of the disk sees what a VM writes meanwhile, and ends with the writes of one that has gone", async () => {
    const { path } = await lab();
    await snapshotCreate(path, "shared tables");
    const start = Buffer.alloc(4096);
    await using view = await openView(path, SHARED);
    {
      await using vm = await Vm.start({ disks: [path] });
      await view.read(3 << 20, start);
      // Copies tables that the snapshot shares, so that the L1 table changes.
      for (const command of ["write -P 77 0 4M", "flush"]) await vm.io(0, command);
      await view.read(3 << 20, start);
      expect(start.every((byte) => byte === 77)).toBe(true);
    }
    await view.read(3 << 20, start);
    await snapshotCreate(path, "shared again");
    await io(path, "write -P 78 0 4M");
    await expect(view.read(3 << 20, start)).rejects.toMatchObject({ code: "IMAGE_CHANGED" });
  });
});

test("a comparison and a stream without locks end when what they compare goes", async () => {
  const { path, pool } = await lab();
  await using _ = pool;
  for (const [from, to] of [
    ["one", "two"],
    ["two", undefined],
  ] as const) {
    const ranges = diffSnapshots(path, from, to, { ...SHARED, onSides: () => undefined });
    expect((await ranges.next()).done).toBe(false);
    await ranges.return(undefined);
  }
  const stream = sendSnapshot(path, openView, { from: "one", to: "two", ...SHARED });
  await stream.next();
  await pool.delete(path, "two");
  await expect(all(stream)).rejects.toMatchObject({ code: "SNAPSHOT_NOT_FOUND" });
});

const API = resolve(import.meta.dirname, "../../dist/src/index.js");
const CHANGES = `
  const [api, journal, path] = process.argv.slice(1);
  const { openPool } = await import(api);
  const pool = await openPool(journal);
  for (let round = 0; round < 40; round += 1) {
    await pool.revert(path, "s" + (1 + (round % 3)));
    await pool.create(path, "passing");
    await pool.delete(path, "passing");
  }
  await pool.close();
`;

/**
 * Two processes: one reads all the time, the other one takes, reverts to and deletes
 * snapshots that hold one value each, so that two values in one view are a mixture.
 */
test("whatever another process does, no view is ever a mixture", { timeout: 60_000 }, async () => {
  const lab = await Lab.open({});
  const path = lab.path("a.qcow2");
  await writeFile(path, makeImage({ ...SPEC, snapshots: [], active: {} }));
  for (const value of [1, 2, 3]) {
    await io(path, `write -P ${value} 0 4M`);
    await lab.qcowal("create", `s${value}`, path);
  }
  const child = run(process.execPath, ["--input-type=module", "-e", CHANGES, API, lab.path(".qcowal"), path]);
  const now = { over: false };
  const other = child.finally(() => {
    now.over = true;
  });
  const ends = { whole: 0, refused: 0 };
  const read = async (snapshot: string | undefined): Promise<void> => {
    try {
      await using view = await openView(path, { ...SHARED, ...(snapshot === undefined ? {} : { snapshot }) });
      const values = new Set<number>();
      for await (const { bytes } of view.chunks(0, view.size, { chunkBytes: 64 * 1024 })) {
        for (let at = 0; at < bytes.length; at += 512) values.add(bytes[at] ?? -1);
      }
      expect([...values]).toHaveLength(1);
      expect([...values][0]).toBeGreaterThan(0);
      ends.whole += 1;
    } catch (error) {
      expect(error).toMatchObject({
        code: expect.stringMatching(/^(SNAPSHOT_NOT_FOUND|IMAGE_CHANGED|NEEDS_RECOVERY)$/) as string,
      });
      ends.refused += 1;
    }
  };
  while (!now.over) await Promise.all([read(undefined), read("passing"), read("s2")]);
  expect(await other).toMatchObject({ code: 0, stderr: "" });
  console.log(ends);
  expect(ends.whole).toBeGreaterThan(0);
});
