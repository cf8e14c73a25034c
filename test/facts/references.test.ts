/** What about references, refcounts and flags is most often got wrong. Each test says the fact and shows it. */
import { readFile, writeFile } from "node:fs/promises";
import { beforeAll, expect, test } from "vitest";
import { visible } from "../support/model.ts";
import {
  createImage,
  io,
  judge,
  qemuCheck,
  requireQemu,
  snapshotApply,
  snapshotCreate,
  snapshotList,
} from "../support/qemu.ts";
import { run } from "../support/programs.ts";
import type { ImageSpec } from "../../tools/image-maker/index.ts";
import { Seen, openLab } from "./lab.ts";

beforeAll(requireQemu);

test("a refcount counts paths from roots, not pointers: a shared L2 table does not shield its children, and its copy-on-write changes no refcount of theirs", async () => {
  const { path, pool, bytes } = await openLab();
  await createImage(path, { size: "16M", options: { cluster_size: 4096 } });
  await io(path, "write -P 1 0 4k", "write -P 2 4k 4k");
  for (const name of ["a", "b"]) await pool.create(path, name);
  const shared = new Seen(await bytes());
  const [l2] = shared.l1();
  // One L2 entry points to the data, but three roots lead there.
  expect([shared.refcount(l2?.offset ?? 0), shared.refcount(shared.host(0))]).toEqual([3, 3]);

  await io(path, "write -P 3 4k 4k");
  const written = new Seen(await bytes());
  expect(written.l1()[0]?.offset).not.toBe(l2?.offset);
  expect([written.refcount(l2?.offset ?? 0), written.refcount(written.l1()[0]?.offset ?? 0)]).toEqual([2, 1]);
  expect(written.host(0)).toBe(shared.host(0));
  expect(written.refcount(written.host(0))).toBe(3);
  expect(written.refcount(shared.host(1))).toBe(2);

  await pool.revert(path, "a");
  expect(new Seen(await bytes()).refcount(shared.host(1))).toBe(3);
  await judge(path);
  await pool.delete(path, "b");
  await pool.delete(path, "a");
  const alone = new Seen(await bytes());
  expect([alone.refcount(alone.l1()[0]?.offset ?? 0), alone.refcount(alone.host(0))]).toEqual([1, 1]);
  await judge(path);
});

test("COPIED bits in a snapshot's L1 are garbage, and never get into the active L1 that a revert writes", async () => {
  const { path, pool, bytes } = await openLab();
  await createImage(path, { size: "16M", options: { cluster_size: 4096 } });
  await io(path, "write -P 1 0 8M");
  await snapshotCreate(path, "s");
  await io(path, "write -P 2 0 8M");
  const before = new Seen(await bytes());
  const [snapshot] = before.snapshots;
  const stale = before.l1(snapshot?.l1Offset, snapshot?.l1Size);
  expect(stale.filter(({ copied }) => copied)).toHaveLength(4);

  await pool.revert(path, "s");
  const now = new Seen(await bytes());
  const active = now.l1();
  expect(active.map(({ offset }) => offset)).toEqual(stale.map(({ offset }) => offset));
  expect(active.filter(({ copied }) => copied)).toEqual([]);
  await judge(path);
  const seen = visible(await bytes()).snapshots;
  await io(path, "write -P 9 0 16M");
  expect(visible(await bytes()).snapshots).toEqual(seen);
});

test("a compressed descriptor can span 3 host clusters: every cluster touched is counted, and it is never COPIED", async () => {
  const compressed: ImageSpec = {
    version: 3,
    clusterBits: 10,
    virtualSize: 64 * 1024,
    active: { changes: [{ at: 0, kind: "compressed", seed: 1, span: 3 }] },
    placement: { separateCompressed: true },
  };
  const { path, pool, bytes } = await openLab(compressed);
  const touched = (seen: Seen): number[] => {
    const { cell, copied } = seen.l2(0);
    if (cell.kind !== "compressed") throw new Error("not compressed");
    expect(copied).toBe(false);
    // (n + 1) sectors, less what of the first lies before the stream.
    expect((cell.offset + cell.length) % 512).toBe(0);
    const clusters = [];
    for (let at = Math.floor(cell.offset / 1024); at * 1024 < cell.offset + cell.length; at += 1) {
      clusters.push(seen.refcount(at * 1024));
    }
    return clusters;
  };
  expect(touched(new Seen(await bytes()))).toEqual([1, 1, 1]);
  await pool.create(path, "a");
  expect(touched(new Seen(await bytes()))).toEqual([2, 2, 2]);
  await judge(path);
  await pool.delete(path, "a");
  // Back to one reference, and still no flag.
  expect(touched(new Seen(await bytes()))).toEqual([1, 1, 1]);
  await judge(path);
});

test("zero clusters with a host offset own a refcounted cluster and carry COPIED; in extended L2 tables entries have 16 bytes", async () => {
  const zeros: ImageSpec = {
    version: 3,
    clusterBits: 12,
    virtualSize: 2 ** 20,
    active: { changes: [{ at: 3, kind: "zero-allocated", seed: 1 }] },
  };
  const subclusters = { kind: "subclusters", allocatedMask: 0xf0, zeroMask: 0x0f, seed: 2 } as const;
  const extended: ImageSpec = {
    ...zeros,
    clusterBits: 14,
    extendedL2: true,
    active: { changes: [{ at: 3, ...subclusters }] },
  };
  for (const spec of [zeros, extended]) {
    const { path, pool, bytes } = await openLab(spec);
    const state = async (): Promise<unknown> => {
      const seen = new Seen(await bytes());
      return { refcount: seen.refcount(seen.host(3)), copied: seen.l2(3).copied };
    };
    const { cell } = new Seen(await bytes()).l2(3);
    expect(cell).toMatchObject({ kind: "host", zero: spec === zeros });
    expect(await state()).toEqual({ refcount: 1, copied: true });
    await pool.create(path, "a");
    expect(await state()).toEqual({ refcount: 2, copied: false });
    await judge(path);
    await pool.delete(path, "a");
    expect(await state()).toEqual({ refcount: 1, copied: true });
    await judge(path);
  }
});

test("refcount growth is self-referential: new blocks count themselves, the new table its own clusters; narrow entries are LSB-first; overflow is found before anything is written", async () => {
  const full: ImageSpec = {
    version: 3,
    clusterBits: 9,
    refcountOrder: 6,
    virtualSize: 4 * 2 ** 20,
    active: { changes: [{ at: 0, count: 8, kind: "data", seed: 1 }] },
    room: { freeInLastRefcountBlock: 0, refcountTableFull: true },
  };
  const grown = await openLab(full);
  const old = new Seen(await grown.bytes()).header;
  await grown.pool.create(grown.path, "a");
  const { header } = new Seen(await grown.bytes());
  expect(header.refcountTableOffset).not.toBe(old.refcountTableOffset);
  expect(new Seen(await grown.bytes()).refcount(header.refcountTableOffset)).toBe(1);
  await judge(grown.path);

  for (const refcountOrder of [0, 1, 2]) {
    const data = { at: 0, count: 5, kind: "data", seed: 1 } as const;
    const narrow: ImageSpec = {
      version: 3,
      clusterBits: 12,
      refcountOrder,
      virtualSize: 2 ** 20,
      active: { changes: [data] },
    };
    const { path, pool, bytes, twin } = await openLab(narrow);
    const most = 2 ** (2 ** refcountOrder) - 2;
    for (let index = 0; index < most; index += 1) await pool.create(path, `s${index}`);
    await judge(path);
    const seen = new Seen(await bytes());
    expect(seen.refcount(seen.host(0))).toBe(most + 1);
    const [before, theirs] = [await bytes(), await twin()];
    await expect(pool.create(path, "one more")).rejects.toMatchObject({ code: "REFCOUNT_OVERFLOW" });
    expect(before.equals(await bytes())).toBe(true);
    // The same in qemu-img fails in the middle.
    expect((await run("qemu-img", ["snapshot", "-c", "one more", theirs])).code).not.toBe(0);
    expect((await qemuCheck(theirs)).leaks).toBeGreaterThan(0);
  }
});

test("'check' is an oracle for refcounts only: its code 2 may lose nothing, its code 0 hide a loss, and -r leaks destroy a snapshot", async () => {
  const spec: ImageSpec = {
    version: 3,
    clusterBits: 12,
    virtualSize: 2 ** 20,
    snapshots: [
      { name: "one", changes: [{ at: 0, count: 4, kind: "data", seed: 1 }] },
      { name: "two", changes: [{ at: 0, count: 4, kind: "data", seed: 9 }] },
    ],
    active: { changes: [{ at: 0, count: 4, kind: "data", seed: 20 }] },
  };
  const flagged = await openLab(spec);
  const sound = await flagged.bytes();
  const { l1Offset, snapshotsOffset } = new Seen(sound).header;
  const wrongFlag = Buffer.from(sound);
  wrongFlag[l1Offset] = (wrongFlag[l1Offset] ?? 0) ^ 0x80;
  await writeFile(flagged.path, wrongFlag);
  expect((await qemuCheck(flagged.path)).code).toBe(2);
  expect(visible(wrongFlag)).toEqual(visible(sound));
  await flagged.pool.repair(flagged.path);
  expect(visible(await flagged.bytes())).toEqual(visible(sound));
  await judge(flagged.path);

  // Two clusters of the guest change places: no count is wrong. Only the bytes of every root tell.
  const swapped = Buffer.from(sound);
  const l2 = new Seen(sound).l1()[0]?.offset ?? 0;
  sound.copy(swapped, l2, l2 + 8, l2 + 16);
  sound.copy(swapped, l2 + 8, l2, l2 + 8);
  await writeFile(flagged.path, swapped);
  await judge(flagged.path);
  expect(visible(swapped)).not.toEqual(visible(sound));

  const damaged = Buffer.from(sound);
  damaged.writeBigUInt64BE(damaged.readBigUInt64BE(snapshotsOffset) + 512n, snapshotsOffset);
  const { path, pool, bytes, twin } = await openLab(damaged);
  const theirs = await twin();
  await run("qemu-img", ["check", "-r", "leaks", theirs]);
  const restored = await readFile(theirs);
  sound.copy(restored, snapshotsOffset, snapshotsOffset, snapshotsOffset + 8);
  expect(visible(restored).snapshots[0]).not.toEqual(visible(sound).snapshots[0]);
  for (const what of ["leaks", "all"] as const) {
    const { images } = await pool.repair(path, { what });
    expect(images[0]?.outcomes).toMatchObject(
      [{ left: [/L1 table offset invalid/, /may belong to a snapshot/] }].map(({ left }) => ({
        left: left.map((words): unknown => expect.stringMatching(words)),
      })),
    );
  }
  expect(damaged.equals(await bytes())).toBe(true);
});

test("a revert may change the size of the disk and of the L1 table, VM state lies above the disk, and persistent bitmaps forbid it", async () => {
  const { path, pool, bytes, twin, dir } = await openLab();
  await createImage(path, { size: "4M", options: { cluster_size: 4096 } });
  await io(path, "write -P 1 0 4M");
  await snapshotCreate(path, "small");
  expect((await run("qemu-img", ["resize", "-q", "-f", "qcow2", path, "40M"])).code).toBe(0);
  await io(path, "write -P 2 3M 20M");
  await snapshotCreate(path, "large");
  for (const name of ["small", "large", "small"]) {
    const theirs = await twin();
    await pool.revert(path, name);
    await snapshotApply(theirs, name);
    const [ours, peers] = [visible(await bytes()), visible(await readFile(theirs))];
    expect(ours).toEqual(peers);
    expect(ours.virtualSize).toBe((name === "small" ? 4 : 40) * 2 ** 20);
    await judge(path);
  }

  const vm = await openLab({
    version: 3,
    clusterBits: 12,
    virtualSize: 2 ** 20,
    snapshots: [
      {
        name: "running",
        changes: [{ at: 0, kind: "data", seed: 1 }],
        vmState: [{ at: 0, count: 3, kind: "data", seed: 7 }],
      },
    ],
    active: { changes: [{ at: 0, kind: "data", seed: 2 }] },
  });
  const state = visible(await vm.bytes()).snapshots[0]?.vmArea;
  expect(visible(await vm.bytes()).vmArea).not.toBe(state);
  await vm.pool.revert(vm.path, "running");
  expect(visible(await vm.bytes())).toMatchObject({ vmArea: state, virtualSize: 2 ** 20 });
  await judge(vm.path);

  const marked = `${dir}/marked.qcow2`;
  await createImage(marked, { size: "4M" });
  await snapshotCreate(marked, "s");
  expect((await run("qemu-img", ["bitmap", "--add", marked, "b"])).code).toBe(0);
  expect((await run("qemu-img", ["snapshot", "-a", "s", marked])).code).not.toBe(0);
  await expect(pool.revert(marked, "s")).rejects.toMatchObject({ code: "IMAGE_UNSUPPORTED" });
  expect(await snapshotList(marked)).toHaveLength(1);
});
