import { parseHeader } from "./naive-qcow2.ts";
import { FileBytes } from "./naive-qcow2/file.ts";

/** Where things are in a sound image of 16-bit refcounts and plain L2 entries. */
class Places {
  readonly bytes: Buffer;
  readonly version: 2 | 3;
  readonly l1: number;
  readonly table: number;
  readonly block: number;
  readonly snapshots: number;
  readonly #clusterSize: number;
  readonly #l1Size: number;

  constructor(bytes: Buffer) {
    const header = parseHeader(new FileBytes(bytes), {});
    this.bytes = bytes;
    this.version = header.version === 2 ? 2 : 3;
    this.l1 = header.l1Offset;
    this.table = header.refcountTableOffset;
    this.block = this.target(this.table);
    this.snapshots = header.snapshotsOffset;
    this.#clusterSize = header.clusterSize;
    this.#l1Size = header.l1Size;
  }

  target(at: number): number {
    return Number(this.bytes.readBigUInt64BE(at) & 0x00ff_ffff_ffff_fe00n);
  }

  /** Where the active L2 tables' entries are that point to a cluster with this refcount. */
  entries(refcount: number): number[] {
    const found: number[] = [];
    for (let slot = 0; slot < this.#l1Size; slot += 1) {
      const l2 = this.target(this.l1 + slot * 8);
      if (l2 === 0) continue;
      for (let at = l2; at < l2 + this.#clusterSize; at += 8) {
        const target = this.target(at);
        if (target !== 0 && this.bytes.readUInt16BE(this.refcountOf(target)) === refcount) found.push(at);
      }
    }
    return found;
  }

  /** Where the refcount of the cluster at this offset is stored. */
  refcountOf(offset: number): number {
    return this.block + (offset / this.#clusterSize) * 2;
  }

  toggle(at: number): void {
    this.bytes[at] = (this.bytes[at] ?? 0) ^ 0x80;
  }
}

function leaked({ bytes, block }: Places): void {
  bytes.writeUInt16BE(1, block + 2 * 510);
  bytes.writeUInt16BE(3, block + 2 * 511);
}

const DAMAGES = {
  /** For a repair that only hardens. */
  none: () => undefined,
  leaks: leaked,
  "refcounts and flags": (at: Places) => {
    leaked(at);
    const [own = 0, second = 0, third = 0] = at.entries(1);
    const [shared = 0, other = 0, another = 0] = at.entries(2);
    at.bytes.writeUInt16BE(0, at.refcountOf(at.target(own)));
    at.bytes.writeUInt16BE(1, at.refcountOf(at.target(shared)));
    at.bytes.writeUInt16BE(5, at.refcountOf(at.target(other)));
    for (const entry of [second, third, shared, another]) at.toggle(entry);
    if (at.version === 3) at.bytes[79] = 3;
  },
  "missing block": ({ bytes, table }: Places) => void bytes.fill(0, table, table + 8),
  "block behind the end": ({ bytes, table }: Places) => void bytes.writeBigUInt64BE(1n << 40n, table),
  "block in the place of the L1 table": ({ bytes, table, l1 }: Places) =>
    void bytes.writeBigUInt64BE(BigInt(l1), table),
  "block named twice": ({ bytes, table }: Places) => void bytes.copy(bytes, table + 8, table, table + 8),
  "reserved bits in a slot": ({ bytes, table }: Places) => void (bytes[table + 7] = 1),
  /** The second of two, so that no byte of the first moves. */
  "unreadable snapshot": ({ bytes, snapshots }: Places) => {
    const second = snapshots + Math.ceil((40 + bytes.readUInt32BE(snapshots + 36) + 1 + 3) / 8) * 8;
    bytes.writeBigUInt64BE(1n << 40n, second);
  },
  /** The second names the L1 table of the active layer as its own. */
  "contradictory snapshot": ({ bytes, snapshots, l1 }: Places) => {
    const second = snapshots + Math.ceil((40 + bytes.readUInt32BE(snapshots + 36) + 1 + 3) / 8) * 8;
    bytes.writeBigUInt64BE(BigInt(l1), second);
  },
  "unreadable entry": ({ bytes, snapshots }: Places) => {
    const second = snapshots + Math.ceil((40 + bytes.readUInt32BE(snapshots + 36) + 1 + 3) / 8) * 8;
    bytes.writeUInt32BE(2 ** 31, second + 36);
  },
  "two owners": (at: Places) => {
    leaked(at);
    at.bytes.writeBigUInt64BE(BigInt(at.l1), at.entries(1)[0] ?? 0);
  },
} satisfies Record<string, (at: Places) => void>;

export type Damage = keyof typeof DAMAGES;

export function damaged(sound: Uint8Array, damage: Damage | undefined): Uint8Array {
  const bytes = Buffer.from(sound);
  if (damage !== undefined) DAMAGES[damage](new Places(bytes));
  return bytes;
}
