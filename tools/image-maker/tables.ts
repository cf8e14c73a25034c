import { view } from "./bytes.ts";
import { compressedClusters } from "./census.ts";
import type { Model, Root, Table } from "./model.ts";
import { seededRandom } from "./random.ts";
import type { Random } from "./random.ts";
import type { ImageSpec } from "./spec.ts";

const COPIED = 1n << 63n;
const COMPRESSED = 1n << 62n;

/** Renders L1 and L2 tables; `counts` decides the COPIED flags that mean something. */
export class TableRenderer {
  readonly #spec: ImageSpec;
  readonly #model: Model;
  readonly #counts: Float64Array;
  readonly #active: ReadonlySet<Table>;
  readonly #random: Random;

  constructor(spec: ImageSpec, model: Model, counts: Float64Array) {
    this.#spec = spec;
    this.#model = model;
    this.#counts = counts;
    this.#active = new Set(model.active.slots.values());
    this.#random = seededRandom((spec.placement?.seed ?? 1) + 77);
  }

  l1(root: Root): Uint8Array {
    const bytes = new Uint8Array(root.l1Size * 8);
    for (const [slot, { run }] of root.slots) {
      const flag = root === this.#model.active ? this.#exact(run.first) : this.#garbage(true);
      view(bytes).setBigUint64(slot * 8, this.#offset(run.first) | flag);
    }
    return bytes;
  }

  l2(table: Table): Uint8Array {
    const { clusterSize } = this.#model;
    const bytes = new Uint8Array(clusterSize);
    const fields = view(bytes);
    const extended = this.#spec.extendedL2 === true;
    const stride = extended ? 16 : 8;
    for (const [index, entry] of table.entries) {
      const at = index * stride;
      switch (entry.kind) {
        case "plain-zero":
          fields.setBigUint64(at, extended ? 0n : 1n);
          if (extended) fields.setBigUint64(at + 8, 0xffff_ffffn << 32n);
          break;
        case "compressed": {
          const { offset } = compressedClusters(entry, clusterSize);
          const sectorShift = BigInt(62 - (this.#spec.clusterBits - 8));
          fields.setBigUint64(at, COMPRESSED | (BigInt(entry.sectors - 1) << sectorShift) | BigInt(offset));
          break;
        }
        case "host": {
          const first = entry.run.first;
          const flag = this.#active.has(table) ? this.#exact(first) : this.#garbage(false);
          const zero = entry.zero && !extended ? 1n : 0n;
          fields.setBigUint64(at, this.#offset(first) | flag | zero);
          if (extended) fields.setBigUint64(at + 8, entry.bitmap);
        }
      }
    }
    return bytes;
  }

  #offset(cluster: number): bigint {
    return BigInt(cluster * this.#model.clusterSize);
  }

  #exact(cluster: number): bigint {
    return this.#counts[cluster] === 1 ? COPIED : 0n;
  }

  /** Where the flag means nothing. QEMU copies the active L1 with its flags, and clears those of shared L2 entries. */
  #garbage(inL1: boolean): bigint {
    const choice = this.#spec.snapshotCopiedFlags ?? "qemu";
    const set =
      choice === "set" || (choice === "qemu" && inL1) || (choice === "random" && this.#random.chance(0.5));
    return set ? COPIED : 0n;
  }
}

/** One refcount block; widths below a byte start with the low bits. */
export function renderRefcountBlock(
  counts: Float64Array,
  first: number,
  clusterSize: number,
  order: number,
): Uint8Array {
  const bytes = new Uint8Array(clusterSize);
  const fields = view(bytes);
  const bits = 2 ** order;
  const max = bits >= 53 ? Number.MAX_SAFE_INTEGER : 2 ** bits - 1;
  const entries = (clusterSize * 8) / bits;
  for (let i = 0; i < entries; i++) {
    const count = counts[first + i] ?? 0;
    if (count === 0) continue;
    if (count > max) throw new RangeError(`refcount ${count} does not fit into ${bits} bits`);
    if (bits < 8) {
      const at = Math.floor((i * bits) / 8);
      bytes[at] = (bytes[at] ?? 0) | (count << ((i * bits) % 8));
    } else if (bits === 8) fields.setUint8(i, count);
    else if (bits === 16) fields.setUint16(i * 2, count);
    else if (bits === 32) fields.setUint32(i * 4, count);
    else fields.setBigUint64(i * 8, BigInt(count));
  }
  return bytes;
}
