import { Lru } from "./lru.ts";

/**
 * What the tables of all files of a chain may hold of memory together: enough for
 * 32 GiB of guest data in clusters of 64 KiB, and for a slice of L1 and one of L2
 * of each of 200 files.
 */
const TABLE_BYTES = 4 * 1024 * 1024;
/** Two of the largest clusters: a read that is not aligned needs two. */
const CLUSTER_BYTES = 4 * 1024 * 1024;

/** What was read of the files of one chain, however many they are. */
export class ChainCache {
  readonly #tables = new Lru<Uint32Array>(TABLE_BYTES);
  readonly #clusters = new Lru<Uint8Array>(CLUSTER_BYTES);
  #files = 0;

  /** The part of a file; offsets of one file mean nothing in another one. */
  forFile(): FileCache {
    const file = this.#files;
    this.#files += 1;
    return {
      table: (offset, bytes, make) => this.#tables.get(`${file}:${offset}`, bytes, make),
      cluster: (offset, bytes, make) => this.#clusters.get(`${file}:${offset}`, bytes, make),
    };
  }

  /** What was read may be other by now. */
  clear(): void {
    this.#tables.clear();
    this.#clusters.clear();
  }
}

type Cached<Value> = (offset: number, bytes: number, make: () => Promise<Value>) => Promise<Value>;

export interface FileCache {
  /** A slice of a table. */
  readonly table: Cached<Uint32Array>;
  /** A cluster that was unpacked. */
  readonly cluster: Cached<Uint8Array>;
}
