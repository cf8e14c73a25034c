/** The images that the malformed ones are made of: by the real qemu-img, then poked at the offsets of its layout. */
import { type FileHandle, copyFile, open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { must } from "../support/programs.ts";
import { createImage, io, snapshotCreate } from "../support/qemu.ts";

const MIB = 2 ** 20;
const CLUSTER = 2 ** 16;
const REFCOUNT_BLOCK = 0x2_0000;

/** Offset and size of what is poked, in an image of 64 KiB clusters as qemu-img makes it. */
const FIELDS = {
  version: [4, 4],
  backingOffset: [8, 8],
  backingSize: [16, 4],
  l1Size: [36, 4],
  l1Offset: [40, 8],
  refcountTableOffset: [48, 8],
  refcountTableClusters: [56, 4],
  snapshotCount: [60, 4],
  snapshotsOffset: [64, 8],
  refcountOrder: [96, 4],
  headerLength: [100, 4],
  extensionType: [112, 4],
  extensionLength: [116, 4],
  /** The first entry of the first L2 table. */
  l2Entry: [0x4_0000, 8],
  /** The first entry of the first snapshot table. */
  snapshotL1Offset: [0x7_0000, 8],
  snapshotL1Size: [0x7_0008, 4],
} as const;

export type Pokes = Readonly<Partial<Record<keyof typeof FIELDS, number | bigint>>>;

/**
 * Which image is poked: empty; with 64 KiB of data; that with a snapshot; with
 * three snapshots as older qemus wrote them; those with a fourth of today's.
 */
export type Base = "empty" | "data" | "snapshot" | "three" | "four";

export interface Recipe {
  readonly base: Base;
  readonly version?: 2 | 3;
  readonly pokes?: Pokes;
  /** Size of the extra data of the last snapshot. */
  readonly lastExtra?: number;
  /** Puts a table of these entries at 1 MiB, with refcounts to match. */
  readonly table?: EntryTable;
}

/** Lengths of extra data, id and name of each entry; all else, and their content, is zeros. */
export interface EntryTable {
  readonly entries: readonly (readonly [extra: number, id: number, name: number])[];
  /** This entry has an L1 table, with an L2 table, in the two clusters before the table. */
  readonly withL1?: number;
}

const TABLE = MIB;
const L2 = TABLE - CLUSTER;
const L1 = L2 - CLUSTER;

function bytesOf(value: number | bigint, size: 4 | 8): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes.subarray(8 - size);
}

export interface TableEntry {
  readonly at: number;
  readonly fixed: Buffer;
  readonly extra: Buffer;
  readonly id: string;
  readonly name: string;
}

export function tableIn(bytes: Buffer): TableEntry[] {
  let at = Number(bytes.readBigUInt64BE(64));
  return Array.from({ length: bytes.readUInt32BE(60) }, () => {
    const start = at;
    const ends = [40, bytes.readUInt32BE(at + 36), bytes.readUInt16BE(at + 12), bytes.readUInt16BE(at + 14)];
    const [fixed, extra, id, name] = ends.map((length) => bytes.subarray(at, (at += length)));
    at = Math.ceil(at / 8) * 8;
    if (!fixed || !extra || !id || !name) throw new Error("a table without an end");
    return { at: start, fixed, extra, id: id.toString(), name: name.toString() };
  });
}

/** The extra data of three entries becomes none, more than any qemu knows, and the first field only. */
function asOlderQemusWrote(bytes: Buffer): void {
  const unknown = Buffer.alloc(26);
  unknown.write("very important data");
  const extras = [
    (): Buffer => Buffer.alloc(0),
    (known: Buffer): Buffer => Buffer.concat([known.subarray(0, 16), Buffer.alloc(8), unknown]),
    (known: Buffer): Buffer => known.subarray(0, 8),
  ];
  const entries = tableIn(bytes).map(({ fixed, extra, id, name }, index) => {
    const changed = extras[index]?.(extra) ?? extra;
    const entry = Buffer.concat([fixed, changed, Buffer.from(id + name)]);
    entry.writeUInt32BE(changed.length, 36);
    return Buffer.concat([entry, Buffer.alloc(-entry.length & 7)]);
  });
  Buffer.concat(entries).copy(bytes, Number(bytes.readBigUInt64BE(64)));
}

async function makeBase(path: string, base: Base, version: 2 | 3): Promise<void> {
  const isOld = version === 2 || base === "three" || base === "four";
  await createImage(path, { size: 64 * MIB, options: { compat: isOld ? "0.10" : "1.1" } });
  if (base === "data" || base === "snapshot") await io(path, "write -P 0x2a 0 64k");
  if (base === "snapshot") await snapshotCreate(path, "test");
  if (base !== "three" && base !== "four") return;
  for (const name of ["sn0", "sn1", "sn2"]) await snapshotCreate(path, name);
  const bytes = await readFile(path);
  asOlderQemusWrote(bytes);
  await writeFile(path, bytes);
  if (version === 3) await must("qemu-img", ["amend", "-f", "qcow2", "-o", "compat=1.1", path]);
  if (base === "four") await snapshotCreate(path, "sn3");
}

async function putTable(file: FileHandle, { entries, withL1 }: EntryTable): Promise<void> {
  let at = TABLE;
  for (const [index, [extra, id, name]] of entries.entries()) {
    if (extra + id + name > 0) {
      await file.write(bytesOf(id * 2 ** 16 + name, 4), 0, 4, at + 12);
      await file.write(bytesOf(extra, 4), 0, 4, at + 36);
    }
    if (index === withL1) {
      await file.write(bytesOf(L1, 8), 0, 8, at);
      await file.write(bytesOf(1, 4), 0, 4, at + 8);
      await file.write(bytesOf(2n ** 63n + BigInt(L2), 8), 0, 8, L1);
    }
    at = Math.ceil((at + 40 + extra + id + name) / 8) * 8;
  }
  await file.truncate(at);
  const first = withL1 === undefined ? TABLE : L1;
  const refcounts = Buffer.alloc(2 * Math.ceil((at - first) / CLUSTER), Uint8Array.of(0, 1));
  await file.write(refcounts, 0, refcounts.length, REFCOUNT_BLOCK + (2 * first) / CLUSTER);
  await file.write(bytesOf(entries.length, 4), 0, 4, 60);
  await file.write(bytesOf(TABLE, 8), 0, 8, 64);
}

/** Makes malformed images in a directory, of bases that are made once. */
export class MalformedImages {
  readonly #dir: string;
  readonly #bases = new Map<string, Promise<string>>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  async make(path: string, { base, version = 3, pokes = {}, lastExtra, table }: Recipe): Promise<void> {
    await copyFile(await this.#base(base, version), path);
    const last = lastExtra === undefined ? undefined : tableIn(await readFile(path)).at(-1);
    const file = await open(path, "r+");
    try {
      if (table !== undefined) await putTable(file, table);
      if (last !== undefined) await file.write(bytesOf(lastExtra ?? 0, 4), 0, 4, last.at + 36);
      for (const [field, value] of Object.entries(pokes)) {
        const [offset, size] = FIELDS[field as keyof typeof FIELDS];
        await file.write(bytesOf(value, size), 0, size, offset);
      }
    } finally {
      await file.close();
    }
  }

  #base(base: Base, version: 2 | 3): Promise<string> {
    const path = join(this.#dir, `${base}-${version}.qcow2`);
    const made = this.#bases.get(path) ?? makeBase(path, base, version).then(() => path);
    this.#bases.set(path, made);
    return made;
  }
}

/** The tables here are mostly holes, and have to stay so. */
export const copySparse = (from: string, to: string): Promise<string> =>
  must("cp", ["--sparse=always", "--", from, to]);
