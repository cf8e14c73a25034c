import { expect, test } from "vitest";
import { readImage } from "../../src/image/index.ts";
import type { Operation } from "../../src/plan/index.ts";
import { makeImage } from "../../tools/image-maker/index.ts";
import { applyPlan, planOn } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";

const CLUSTER = 4096;
const OFFSET_MASK = 0x00ff_ffff_ffff_fe00n;

/** Counts how often each place is read. */
class CountingDisk extends MemoryDisk {
  readonly reads: { readonly from: number; readonly to: number }[] = [];

  override async read(offset: number, target: Uint8Array): Promise<number> {
    this.reads.push({ from: offset, to: offset + target.length });
    return super.read(offset, target);
  }

  timesRead(table: number): number {
    // The header comes with what lies behind it, whatever that is.
    const reads = this.reads.filter(({ from }) => from > 0);
    return reads.filter(({ from, to }) => from < table + CLUSTER && to > table).length;
  }
}

function tablesOf(bytes: Uint8Array, l1: number, entries: number): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return Array.from({ length: entries }, (_, index) =>
    Number(view.getBigUint64(l1 + index * 8) & OFFSET_MASK),
  ).filter((offset) => offset !== 0);
}

/** Offsets of the L2 tables of the active layer and of each snapshot by name. */
async function allTables(bytes: Uint8Array): Promise<Map<string, number[]>> {
  const { header, snapshotTable } = await readImage(new MemoryDisk(bytes));
  return new Map([
    ["the disk", tablesOf(bytes, header.l1TableOffset, header.l1Size)],
    ...snapshotTable.snapshots.map(
      ({ name, entry }) => [name, tablesOf(bytes, Number(entry.l1TableOffset), entry.l1Size)] as const,
    ),
  ]);
}

const names = Array.from({ length: 31 }, (_, index) => `s${index}`);

/** Each snapshot shares all but one or two of its tables with the one before it. */
const image = (): Uint8Array =>
  makeImage({
    version: 3,
    clusterBits: 12,
    virtualSize: 16 * 512 * CLUSTER,
    snapshots: names.map((name, index) => ({
      name,
      changes:
        index === 0
          ? Array.from({ length: 16 }, (_, table) => ({
              at: table * 512,
              count: 2,
              kind: "data" as const,
              seed: table,
            }))
          : [{ at: (index % 15) * 512 + index, count: 1, kind: "data" as const, seed: index }],
    })),
  });

async function planned(
  operations: (path: string) => readonly Operation[],
): Promise<{ disk: CountingDisk; tables: Map<string, number[]> }> {
  const bytes = image();
  const disk = new CountingDisk(bytes);
  const plan = await planOn(disk, ...operations(disk.path));
  const reads = disk.reads.length;
  await applyPlan(disk, plan);
  // What is applied reads what it changes; counted is what the planning reads.
  disk.reads.length = reads;
  expect(describeCheck(checkImage(disk.bytes()))).toBe("clean");
  return { disk, tables: await allTables(bytes) };
}

test("deleting 30 snapshots reads each L2 table once, those that the disk keeps too", async () => {
  const { disk, tables } = await planned((path) =>
    names.slice(0, 30).map((name) => ({ type: "delete", image: path, name })),
  );
  const every = [...new Set([...tables.values()].flat())];
  expect(every.length).toBeGreaterThan(30);
  // They are counted, and whether they say COPIED depends on the refcounts that all the deletes leave.
  const own = tables.get("the disk") ?? [];
  expect(own.length).toBe(16);
  expect(every.map((table) => disk.timesRead(table))).toEqual(every.map(() => 1));
});

test("a rotation, one taken and the oldest deleted, reads no L2 table that both have", async () => {
  const { disk, tables } = await planned((path) => [
    { type: "create", image: path, name: "newest" },
    { type: "delete", image: path, name: "s0" },
  ]);
  const [own, oldest] = [new Set(tables.get("the disk")), tables.get("s0") ?? []];
  const shared = oldest.filter((table) => own.has(table));
  expect(shared.length).toBeGreaterThan(0);
  expect(shared.map((table) => disk.timesRead(table))).toEqual(shared.map(() => 0));
  const others = oldest.filter((table) => !own.has(table));
  expect(others.map((table) => disk.timesRead(table))).toEqual(others.map(() => 1));
});
