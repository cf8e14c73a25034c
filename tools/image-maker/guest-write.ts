/**
 * The least of a guest: writes whole clusters to the active layer of an image
 * with 16-bit refcounts and one refcount block, copying what a snapshot shares,
 * as a VM would. No locks, no crash safety, nothing but what a demonstration
 * without qemu needs.
 */
import { type FileHandle, open } from "node:fs/promises";

const COPIED = 1n << 63n;
const OFFSET = 0x00ff_ffff_ffff_fe00n;

class Guest {
  readonly #file: FileHandle;
  #clusterSize = 0;
  #l1Offset = 0;
  #refcountBlock = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async load(): Promise<void> {
    const header = Buffer.alloc(104);
    await this.#file.read(header, 0, header.length, 0);
    if (header.readUInt32BE(4) !== 3 || header.readUInt32BE(96) !== 4) {
      throw new Error("the demonstration guest writes version 3 images with 16-bit refcounts only");
    }
    this.#clusterSize = 2 ** header.readUInt32BE(20);
    this.#l1Offset = Number(header.readBigUInt64BE(40));
    this.#refcountBlock = Number(await this.#u64(Number(header.readBigUInt64BE(48))));
  }

  async writeCluster(guestCluster: number, data: Uint8Array): Promise<void> {
    const l2Entries = this.#clusterSize / 8;
    const l1Slot = this.#l1Offset + Math.floor(guestCluster / l2Entries) * 8;
    const table = await this.#writable(l1Slot, undefined);
    const slot = table + (guestCluster % l2Entries) * 8;
    await this.#writable(slot, data);
  }

  /** The cluster behind a table slot, made writable in place: kept if nobody shares it, else copied to a new one. */
  async #writable(slot: number, data: Uint8Array | undefined): Promise<number> {
    const entry = await this.#u64(slot);
    const old = Number(entry & OFFSET);
    const content = Buffer.alloc(this.#clusterSize);
    if (data !== undefined) content.set(data);
    if ((entry & COPIED) !== 0n) {
      if (data !== undefined) await this.#file.write(content, 0, content.length, old);
      return old;
    }
    if (data === undefined && old !== 0) await this.#file.read(content, 0, content.length, old);
    const cluster = await this.#allocate();
    await this.#file.write(content, 0, content.length, cluster);
    const raw = Buffer.alloc(8);
    raw.writeBigUInt64BE(BigInt(cluster) | COPIED);
    await this.#file.write(raw, 0, 8, slot);
    if (old !== 0) await this.#addReference(old / this.#clusterSize, -1);
    return cluster;
  }

  async #allocate(): Promise<number> {
    const block = Buffer.alloc(this.#clusterSize);
    await this.#file.read(block, 0, block.length, this.#refcountBlock);
    for (let cluster = 0; cluster < block.length / 2; cluster += 1) {
      if (block.readUInt16BE(cluster * 2) === 0) {
        await this.#addReference(cluster, 1);
        return cluster * this.#clusterSize;
      }
    }
    throw new Error("the demonstration image is full");
  }

  async #addReference(cluster: number, by: number): Promise<void> {
    const at = this.#refcountBlock + cluster * 2;
    const raw = Buffer.alloc(2);
    await this.#file.read(raw, 0, 2, at);
    raw.writeUInt16BE(raw.readUInt16BE() + by);
    await this.#file.write(raw, 0, 2, at);
  }

  async #u64(at: number): Promise<bigint> {
    const raw = Buffer.alloc(8);
    await this.#file.read(raw, 0, 8, at);
    return raw.readBigUInt64BE();
  }
}

/** Writes `data`, cut into clusters of `clusterSize` bytes, from a guest cluster on. */
export async function guestWrite(
  path: string,
  firstCluster: number,
  clusters: readonly Uint8Array[],
): Promise<void> {
  const file = await open(path, "r+");
  try {
    const guest = new Guest(file);
    await guest.load();
    for (const [index, data] of clusters.entries()) await guest.writeCluster(firstCluster + index, data);
    await file.sync();
  } finally {
    await file.close();
  }
}
