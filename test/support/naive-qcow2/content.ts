import { createHash, hash as hashOf, type Hash } from "node:crypto";
import { decompress } from "./decompress.ts";
import type { Decompressed } from "./decompress.ts";
import type { FileBytes } from "./file.ts";
import type { NaiveHeader } from "./header.ts";
import { readL1Entry, readL2Entry } from "./mapping.ts";

/** Receives the guest content of a root from front to back. */
export interface ContentSink {
  zero(length: number): void;
  /** Unallocated: what a backing file shows, or zeros without one. */
  unallocated(length: number): void;
  data(bytes: Uint8Array): void;
  /** A compressed cluster that cannot be read here. */
  opaque(stream: Uint8Array, length: number): void;
}

export class ContentReader {
  readonly #file: FileBytes;
  readonly #header: NaiveHeader;
  readonly #unpacked = new Map<string, Decompressed>();

  constructor(file: FileBytes, header: NaiveHeader) {
    this.#file = file;
    this.#header = header;
  }

  /** Reports guest bytes `start` (a cluster boundary) up to `end` of the mapping under an L1 table. */
  read(l1Offset: number, l1Size: number, start: number, end: number, sink: ContentSink): void {
    const { clusterSize, l2Entries } = this.#header;
    const span = clusterSize * l2Entries;
    let at = start;
    while (at < end) {
      const slot = Math.floor(at / span);
      const stop = Math.min(end, (slot + 1) * span);
      const l2Offset = slot < l1Size ? readL1Entry(this.#file, l1Offset, slot).offset : 0;
      if (l2Offset === 0) {
        sink.unallocated(stop - at);
        at = stop;
        continue;
      }
      for (; at < stop; at += clusterSize) {
        const index = (at % span) / clusterSize;
        this.#cluster(l2Offset, index, Math.min(clusterSize, stop - at), sink);
      }
    }
  }

  #cluster(l2Offset: number, index: number, length: number, sink: ContentSink): void {
    const { clusterSize, extendedL2 } = this.#header;
    const { cell, bitmap } = readL2Entry(this.#file, this.#header, l2Offset, index);
    if (cell.kind === "compressed") {
      const { bytes, stream } = this.#unpack(cell.offset, cell.length);
      if (bytes === null) sink.opaque(stream, length);
      else sink.data(bytes.subarray(0, length));
      return;
    }
    const host = cell.kind === "host" ? cell.offset : null;
    if (!extendedL2) {
      if (cell.kind === "none") sink.unallocated(length);
      else if (host === null || (cell.kind === "host" && cell.zero)) sink.zero(length);
      else sink.data(this.#file.slice(host, length));
      return;
    }
    const size = clusterSize / 32;
    for (let i = 0; i < 32 && i * size < length; i++) {
      const part = Math.min(size, length - i * size);
      if (((bitmap >> BigInt(32 + i)) & 1n) === 1n) sink.zero(part);
      else if (host !== null && ((bitmap >> BigInt(i)) & 1n) === 1n) {
        sink.data(this.#file.slice(host + i * size, part));
      } else sink.unallocated(part);
    }
  }

  #unpack(offset: number, length: number): Decompressed {
    const key = `${offset}+${length}`;
    let result = this.#unpacked.get(key);
    if (result === undefined) {
      const payload = this.#file.slice(offset, length);
      result = decompress(this.#header.compressionType, payload, this.#header.clusterSize);
      this.#unpacked.set(key, result);
    }
    return result;
  }
}

const UNIT = 512;
const ZEROS = new Uint8Array(UNIT);

function isZero(bytes: Uint8Array, at: number, length: number): boolean {
  // Most data shows itself in its first byte.
  if (bytes[at] !== 0) return false;
  return Buffer.compare(bytes.subarray(at, at + length), ZEROS.subarray(0, length)) === 0;
}

/**
 * A digest of what the guest sees, whatever the representation: a data cluster
 * full of zeros, the zero flag and, without a backing file, an unallocated
 * cluster are the same.
 */
export class ContentDigest implements ContentSink {
  /** Of the data, once there is any: most areas of VM state have none. */
  #hash: Hash | undefined;
  readonly #runs: string[] = [];
  readonly #hasBacking: boolean;
  #kind = "";
  #length = 0;

  constructor(hasBacking: boolean) {
    this.#hasBacking = hasBacking;
  }

  zero(length: number): void {
    this.#run("zero", length);
  }

  unallocated(length: number): void {
    this.#run(this.#hasBacking ? "backing" : "zero", length);
  }

  data(bytes: Uint8Array): void {
    // What lies between zeros is hashed at once: many thousand images are read in a run of the tests.
    let begin = 0;
    const hashUpTo = (end: number): void => {
      if (end > begin) this.#data(bytes.subarray(begin, end));
    };
    for (let at = 0; at < bytes.length; at += UNIT) {
      const length = Math.min(UNIT, bytes.length - at);
      if (isZero(bytes, at, length)) {
        this.#run("zero", length);
        hashUpTo(at);
        begin = at + length;
      } else this.#run("data", length);
    }
    hashUpTo(bytes.length);
  }

  opaque(stream: Uint8Array, length: number): void {
    this.#run("opaque", length);
    this.#data(stream);
  }

  finish(): string {
    // Zeros at the end say no more than where the caller stopped reading.
    if (this.#kind === "zero") this.#length = 0;
    this.#run("", 0);
    const runs = this.#runs.join(" ");
    return this.#hash === undefined ? hashOf("sha256", runs, "hex") : this.#hash.update(runs).digest("hex");
  }

  #data(bytes: Uint8Array): void {
    this.#hash ??= createHash("sha256");
    this.#hash.update(bytes);
  }

  #run(kind: string, length: number): void {
    if (kind !== this.#kind) {
      if (this.#length > 0) this.#runs.push(`${this.#kind}:${this.#length}`);
      this.#kind = kind;
      this.#length = 0;
    }
    this.#length += length;
  }
}

/** Collects the bytes themselves. */
export class ContentBytes implements ContentSink {
  readonly bytes: Uint8Array;
  readonly #backing: Uint8Array;
  #at = 0;

  constructor(size: number, backing: Uint8Array) {
    this.bytes = new Uint8Array(size);
    this.#backing = backing;
  }

  zero(length: number): void {
    this.#at += length;
  }

  unallocated(length: number): void {
    if (this.#at < this.#backing.length) {
      this.bytes.set(this.#backing.subarray(this.#at, this.#at + length), this.#at);
    }
    this.#at += length;
  }

  data(bytes: Uint8Array): void {
    this.bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  opaque(): void {
    throw new Error("this Node cannot read the compressed clusters of the image");
  }
}
