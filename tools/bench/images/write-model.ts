import { type FileHandle, open } from "node:fs/promises";
import type { AllocatorModel, ModelSnapshot, ModelTable } from "./allocator-model.ts";

const COPIED = 2 ** 31;
const EXTRA_BYTES = 24;

/** Bytes of the model's snapshot table. */
export function snapshotTableBytes(names: readonly string[]): number {
  return names.reduce((sum, name, index) => sum + entryBytes(String(index + 1), name), 0);
}

const entryBytes = (id: string, name: string): number =>
  Math.ceil((40 + EXTRA_BYTES + id.length + name.length) / 8) * 8;

/** Writes the metadata of a finished model as a qcow2 file (version 3, 16-bit refcounts); the data stays a hole. */
export async function writeModel(path: string, model: AllocatorModel): Promise<void> {
  const file = await open(path, "w");
  try {
    const writer = new ModelWriter(file, model);
    await file.truncate(model.end * model.clusterSize);
    await writer.refcounts();
    const written = new Set<ModelTable>();
    const roots = [
      { tables: model.active, isActive: true },
      ...model.snapshots.map(({ tables }) => ({ tables, isActive: false })),
    ];
    for (const { tables, isActive } of roots) {
      for (const table of tables) {
        if (table === undefined || written.has(table)) continue;
        written.add(table);
        await writer.l2(table, isActive);
      }
    }
    await writer.l1(model.l1Host, model.active, true);
    for (const { l1Host, tables } of model.snapshots) await writer.l1(l1Host, tables, false);
    await writer.snapshotTable();
    await writer.header();
    await file.sync();
  } finally {
    await file.close();
  }
}

class ModelWriter {
  readonly #file: FileHandle;
  readonly #model: AllocatorModel;

  constructor(file: FileHandle, model: AllocatorModel) {
    this.#file = file;
    this.#model = model;
  }

  async header(): Promise<void> {
    const model = this.#model;
    const bytes = new DataView(new ArrayBuffer(model.clusterSize));
    bytes.setUint32(0, 0x5146_49fb);
    bytes.setUint32(4, 3);
    bytes.setUint32(20, model.clusterBits);
    bytes.setBigUint64(24, BigInt(model.guestClusters * model.clusterSize));
    bytes.setUint32(36, model.l1Entries);
    bytes.setBigUint64(40, this.#offset(model.l1Host));
    bytes.setBigUint64(48, this.#offset(model.refcountTableHost));
    bytes.setUint32(56, model.refcountTableClusters);
    bytes.setUint32(60, model.snapshots.length);
    bytes.setBigUint64(64, this.#offset(model.snapshotTable.host));
    bytes.setUint32(96, 4);
    bytes.setUint32(100, 112);
    await this.#write(0, bytes);
  }

  /** The table and every block of it. */
  async refcounts(): Promise<void> {
    const model = this.#model;
    const table = new DataView(new ArrayBuffer(model.refcountTableClusters * model.clusterSize));
    for (const [index, host] of model.refcountBlocks.entries())
      table.setBigUint64(index * 8, this.#offset(host));
    await this.#write(model.refcountTableHost, table);
    const perBlock = model.refcountsPerBlock;
    const block = Buffer.alloc(model.clusterSize);
    const words = new Uint16Array(block.buffer, block.byteOffset, perBlock);
    for (const [index, host] of model.refcountBlocks.entries()) {
      for (let entry = 0; entry < perBlock; entry += 1)
        words[entry] = model.refcount(index * perBlock + entry);
      await this.#write(host, block.swap16());
    }
  }

  /** QEMU clears the flags when it takes a snapshot, and sets none again in a table that the disk has left. */
  async l2({ host, targets }: ModelTable, isActive: boolean): Promise<void> {
    const { clusterSize } = this.#model;
    const bytes = Buffer.alloc(targets.length * 8);
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, targets.length * 2);
    for (let entry = 0; entry < targets.length; entry += 1) {
      const target = targets[entry] ?? 0;
      if (target === 0) continue;
      const offset = target * clusterSize;
      words[entry * 2] = Math.floor(offset / 2 ** 32) + (isActive ? this.#copied(target) : 0);
      words[entry * 2 + 1] = offset % 2 ** 32;
    }
    await this.#write(host, bytes.swap32());
  }

  async l1(host: number, tables: ModelSnapshot["tables"], isActive: boolean): Promise<void> {
    const bytes = new DataView(new ArrayBuffer(this.#model.l1Clusters * this.#model.clusterSize));
    for (const [index, table] of tables.entries()) {
      if (table === undefined) continue;
      const offset = table.host * this.#model.clusterSize;
      bytes.setUint32(index * 8, Math.floor(offset / 2 ** 32) + (isActive ? this.#copied(table.host) : 0));
      bytes.setUint32(index * 8 + 4, offset % 2 ** 32);
    }
    await this.#write(host, bytes);
  }

  async snapshotTable(): Promise<void> {
    const model = this.#model;
    if (model.snapshots.length === 0) return;
    const bytes = Buffer.alloc(model.snapshotTable.clusters * model.clusterSize);
    let at = 0;
    for (const [index, { name, l1Host }] of model.snapshots.entries()) {
      const id = String(index + 1);
      bytes.writeBigUInt64BE(this.#offset(l1Host), at);
      bytes.writeUInt32BE(model.l1Entries, at + 8);
      bytes.writeUInt16BE(id.length, at + 12);
      bytes.writeUInt16BE(name.length, at + 14);
      bytes.writeUInt32BE(1_700_000_000 + index, at + 16);
      bytes.writeUInt32BE(EXTRA_BYTES, at + 36);
      bytes.writeBigUInt64BE(BigInt(model.guestClusters * model.clusterSize), at + 48);
      bytes.write(`${id}${name}`, at + 40 + EXTRA_BYTES, "latin1");
      at += entryBytes(id, name);
    }
    await this.#write(model.snapshotTable.host, bytes);
  }

  #copied(host: number): number {
    return this.#model.refcount(host) === 1 ? COPIED : 0;
  }

  #offset(host: number): bigint {
    return BigInt(host) * BigInt(this.#model.clusterSize);
  }

  async #write(host: number, { buffer, byteOffset, byteLength }: ArrayBufferView): Promise<void> {
    await this.#file.write(
      new Uint8Array(buffer, byteOffset, byteLength),
      0,
      byteLength,
      host * this.#model.clusterSize,
    );
  }
}
