import type { Disk } from "../../src/disk/index.ts";
import type { ChangedRange } from "../../src/export/index.ts";
import { diffRoots } from "../../src/export/diff/diff-roots.ts";
import { openRoots, rootOf } from "../../src/export/diff/root.ts";
import type { Extent, GuestDisk } from "../../src/export/index.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import type { Which } from "./naive-map.ts";

/** What differs between two states by their place in the table. */
export async function rangesOn(disk: Disk, from: Which, to: Which): Promise<ChangedRange[]> {
  const { image, roots } = await openRoots(disk, true, (found) => {
    const rootAt = (which: Which) => {
      const id = which === "active" ? undefined : found.snapshotTable.snapshots[which]?.id;
      return rootOf(found, id === undefined ? undefined : { id });
    };
    return { from: rootAt(from), to: rootAt(to) };
  });
  return all(diffRoots(disk, image.header.geometry, roots.from, roots.to));
}

export const rangesOf = (bytes: Uint8Array, from: Which, to: Which): Promise<ChangedRange[]> =>
  rangesOn(new MemoryDisk(bytes), from, to);

export async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const result: Item[] = [];
  for await (const item of items) result.push(item);
  return result;
}

/** Bytes as a guest sees them. Zeros of whole `unit`s are holes. */
export class BytesGuest implements GuestDisk {
  readonly #bytes: Uint8Array;
  readonly #unit: number;
  reads = 0;

  constructor(bytes: Uint8Array, unit = 4096) {
    this.#bytes = bytes;
    this.#unit = unit;
  }

  get size(): number {
    return this.#bytes.length;
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    if (offset + target.length > this.size) throw new RangeError("outside of the disk");
    this.reads += 1;
    target.set(this.#bytes.subarray(offset, offset + target.length));
    return Promise.resolve();
  }

  async *extents(offset: number, length: number): AsyncIterable<Extent> {
    await Promise.resolve();
    const end = offset + length;
    for (let at = offset; at < end;) {
      const start = at;
      const isHole = this.#isHole(at);
      while (at < end && this.#isHole(at) === isHole) at += this.#unit - (at % this.#unit);
      at = Math.min(at, end);
      yield { offset: start, length: at - start, kind: isHole ? "hole" : "data", depth: 0 };
    }
  }

  #isHole(at: number): boolean {
    const start = at - (at % this.#unit);
    return this.#bytes.subarray(start, start + this.#unit).every((byte) => byte === 0);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
