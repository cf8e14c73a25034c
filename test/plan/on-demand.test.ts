import { beforeAll, describe, expect, test } from "vitest";
import { isQcowalError } from "../../src/errors/index.ts";
import { readImage, readRefcountTable } from "../../src/image/index.ts";
import { PHASES, positionOf } from "../../src/intent/index.ts";
import { type ImagePlan, type PlanOptions, planImage } from "../../src/plan/index.ts";
import { makeImage } from "../../tools/image-maker/index.ts";
import { NOW, applyPlan } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";
import { unpacked } from "../support/simple-plan/index.ts";

const CLUSTER = 512;
/** Of 64 bits: a block has as many as an L2 table has entries. */
const REFCOUNTS = 64;
const TABLES = 40;

/** A full disk and two snapshots, which differ in one to three of forty tables; and as many refcount blocks. */
const made = makeImage({
  version: 3,
  clusterBits: 9,
  refcountOrder: 6,
  virtualSize: TABLES * REFCOUNTS * CLUSTER,
  placement: { order: "sequential" },
  snapshots: [
    { name: "one", changes: [{ at: 0, count: TABLES * REFCOUNTS, kind: "data", seed: 1 }] },
    {
      name: "two",
      changes: [
        { at: 7 * REFCOUNTS + 5, count: 9, kind: "data", seed: 2 },
        { at: 30 * REFCOUNTS, count: 64, kind: "data", seed: 3 },
      ],
    },
  ],
  active: { changes: [{ at: 20 * REFCOUNTS + 3, count: 5, kind: "data", seed: 4 }] },
});

/**
 * The same with every second refcount block among the clusters that the one before
 * or behind it counts: there it changes places with guest data.
 */
async function withScatteredBlocks(source: Uint8Array): Promise<Uint8Array> {
  const bytes = source.slice();
  const view = new DataView(bytes.buffer);
  const { header, snapshotTable } = await readImage(new MemoryDisk(source));
  const blocks = await blocksOf(source);
  const roots = [
    header.l1TableOffset,
    ...snapshotTable.snapshots.map(({ entry }) => Number(entry.l1TableOffset)),
  ];
  const tables = new Set(
    roots.flatMap((root) => Array.from({ length: TABLES }, (_, index) => targetAt(view, root + index * 8))),
  );
  const entries = [...tables].flatMap((table) =>
    Array.from({ length: REFCOUNTS }, (_, index) => table + index * 8),
  );
  const refcountAt = (offset: number): number => {
    const cluster = offset / CLUSTER;
    return (blocks[Math.floor(cluster / REFCOUNTS)] ?? 0) + (cluster % REFCOUNTS) * 8;
  };
  for (let slot = 3; slot < blocks.length; slot += 2) {
    const from = blocks[slot] ?? 0;
    const home = slot % 4 === 3 ? slot + 1 : slot - 1;
    const isHere = (at: number): boolean => Math.floor(targetAt(view, at) / CLUSTER / REFCOUNTS) === home;
    const found = entries.find(isHere);
    if (from === 0 || found === undefined) continue;
    const to = targetAt(view, found);
    const [block, data] = [bytes.slice(from, from + CLUSTER), bytes.slice(to, to + CLUSTER)];
    bytes.set(block, to);
    bytes.set(data, from);
    for (const at of entries) {
      if (targetAt(view, at) !== to) continue;
      view.setBigUint64(at, (view.getBigUint64(at) & FLAGS) | BigInt(from));
    }
    blocks[slot] = to;
    view.setBigUint64(header.refcountTableOffset + slot * 8, BigInt(to));
    const [ofBlock, ofData] = [refcountAt(from), refcountAt(to)];
    view.setBigUint64(ofBlock, view.getBigUint64(ofData));
    view.setBigUint64(ofData, 1n);
  }
  return bytes;
}

const FLAGS = 0xff00_0000_0000_01ffn;
const targetAt = (view: DataView, at: number): number => Number(view.getBigUint64(at) & ~FLAGS);

type Options = Pick<PlanOptions, "windowBytes" | "readsAllBlocks">;

async function planned(bytes: Uint8Array, name: string, options: Options = {}) {
  const disk = new MemoryDisk(bytes);
  let read = 0;
  const onTable = (): void => void (read += 1);
  const plan = await planImage(await readImage(disk), [{ type: "revert", image: disk.path, name }], {
    now: NOW,
    onTable,
    ...options,
  });
  return { plan, read };
}

/** Host offsets of the refcount blocks by slot, 0 for none. */
async function blocksOf(bytes: Uint8Array): Promise<Float64Array> {
  const { disk, header, fileSize } = await readImage(new MemoryDisk(bytes));
  return (await readRefcountTable(disk, header, fileSize)).table;
}

/** The image in which the cluster at an offset looks free. */
function uncounted(blocks: Float64Array, offset: number): Uint8Array {
  const bytes = image.slice();
  const cluster = offset / CLUSTER;
  const block = blocks[Math.floor(cluster / REFCOUNTS)] ?? 0;
  new DataView(bytes.buffer).setBigUint64(block + (cluster % REFCOUNTS) * 8, 0n);
  return bytes;
}

/** The plan, or undefined where the image is refused as invalid. */
async function unlessRefused(bytes: Uint8Array, options: Options): Promise<ImagePlan | undefined> {
  try {
    return (await planned(bytes, "one", options)).plan;
  } catch (error) {
    if (isQcowalError(error, "IMAGE_INVALID")) return undefined;
    throw error;
  }
}

/** Host offsets of all that a plan writes to. */
const written = ({ phases }: ImagePlan): Set<number> =>
  new Set(PHASES.flatMap((phase) => [...phases[phase]].map(positionOf)));

let image: Uint8Array;
let blocks: Float64Array;
beforeAll(async () => {
  image = await withScatteredBlocks(made);
  blocks = await blocksOf(image);
  expect(describeCheck(checkImage(image))).toBe("clean");
});

test("a revert past a snapshot that differs in three tables of forty reads those and a third of the refcount blocks, and plans what one does that reads them all", async () => {
  const stored = blocks.filter((offset) => offset !== 0).length;
  const all = await planned(image, "one", { readsAllBlocks: true });
  const few = await planned(image, "one");
  expect(stored).toBeGreaterThan(40);
  expect(all.read - few.read).toBeGreaterThan((stored * 2) / 3);
  // Three tables come and three go; of those that go, two stay the snapshot's and are looked at again.
  expect(all.read - stored).toBeLessThan(10);
  expect(unpacked(few.plan.phases)).toEqual(unpacked(all.plan.phases));
});

test("reverts in turn go on using the same clusters: the file stays as long as it is after the first two", async () => {
  const disk = new MemoryDisk(image);
  const sizes: number[] = [];
  for (const name of ["one", "two", "one", "two", "one", "two"]) {
    await applyPlan(disk, (await planned(disk.bytes(), name)).plan);
    expect(describeCheck(checkImage(disk.bytes()))).toBe("clean");
    sizes.push(disk.bytes().length);
  }
  expect(new Set(sizes.slice(1)).size).toBe(1);
});

describe.each([
  ["one window", undefined],
  ["windows of a block each", 1],
])("in %s", (_, windowBytes) => {
  test("a refcount block that looks free is refused, or neither changed nor given away", async () => {
    const outcomes = { refused: 0, planned: 0 };
    for (const offset of blocks) {
      if (offset === 0) continue;
      const plan = await unlessRefused(uncounted(blocks, offset), { windowBytes });
      outcomes[plan === undefined ? "refused" : "planned"] += 1;
      if (plan !== undefined) expect(written(plan)).not.toContain(offset);
    }
    expect(outcomes.refused).toBeGreaterThan(3);
    expect(outcomes.planned).toBeGreaterThan(3);
  });

  test("every other structure that looks free is refused", async () => {
    const { header, snapshotTable } = await readImage(new MemoryDisk(image));
    const places = [
      0,
      header.l1TableOffset,
      header.refcountTableOffset,
      header.snapshotsOffset,
      ...snapshotTable.snapshots.map(({ entry }) => Number(entry.l1TableOffset)),
    ];
    for (const offset of places) {
      expect(await unlessRefused(uncounted(blocks, offset), { windowBytes })).toBeUndefined();
    }
  });
});
