import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";

/** The checksum, and zeros: V8 copies code that does not begin at a multiple of 8 bytes. */
const HEAD_BYTES = 8;
const placeIn = (dir: string): string => join(dir, "command.cache");

const sourceIn = (dir: string): Buffer => readFileSync(join(dir, "command.cjs"));

/** What a cache is good for: one source, and one engine. V8 looks at the length of the source only. */
function checksumOf(source: Uint8Array, code: Uint8Array): Buffer {
  const engine = `${process.version} ${process.versions.v8} ${process.arch}\n`;
  const checksum = Buffer.alloc(HEAD_BYTES);
  checksum.writeUInt32LE(crc32(code, crc32(source, crc32(engine))));
  return checksum;
}

export interface CachedCode {
  /** Of `command.cjs`, as it was read: it is ASCII. */
  readonly source: Buffer;
  readonly code: Uint8Array;
}

/**
 * V8's code cache of `command.cjs` in `dir`; undefined where there is none for
 * this version of Node and this source. V8 itself checks nothing of it: a changed
 * byte would crash it, or be run.
 */
export function cachedCode(dir: string): CachedCode | undefined {
  try {
    const stored = readFileSync(placeIn(dir));
    const source = sourceIn(dir);
    const code = stored.subarray(HEAD_BYTES);
    return checksumOf(source, code).equals(stored.subarray(0, HEAD_BYTES)) ? { source, code } : undefined;
  } catch {
    // Not there or not readable: the command starts without it.
    return undefined;
  }
}

/** Stores what `cachedCode` reads. */
export function storeCodeCache(dir: string, code: Uint8Array): void {
  writeFileSync(placeIn(dir), Buffer.concat([checksumOf(sourceIn(dir), code), code]));
}
