import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";

/** The checksum, and zeros: V8 copies code that does not begin at a multiple of 8 bytes. */
const HEAD_BYTES = 8;

export const sourcePlace = (dir: string, name: string): string => join(dir, `${name}.cjs`);
export const cachePlace = (dir: string, name: string): string => join(dir, `${name}.cache`);

/** What a cache is good for: one source, and one engine. V8 looks at the length of the source only. */
function checksumOf(source: Uint8Array, code: Uint8Array): Buffer {
  const engine = `${process.version} ${process.versions.v8} ${process.arch}\n`;
  const checksum = Buffer.alloc(HEAD_BYTES);
  checksum.writeUInt32LE(crc32(code, crc32(source, crc32(engine))));
  return checksum;
}

/** Undefined where there is none for this version of Node and this source. V8 itself checks nothing of it: a changed byte would crash it, or be run. */
function cachedCode(place: string, source: Uint8Array): Uint8Array | undefined {
  try {
    const stored = readFileSync(place);
    const code = stored.subarray(HEAD_BYTES);
    return checksumOf(source, code).equals(stored.subarray(0, HEAD_BYTES)) ? code : undefined;
  } catch {
    // Not there or not readable: the command starts without it.
    return undefined;
  }
}

export interface Bundle {
  readonly file: string;
  /** The text of a function with the parameters of a CommonJS module. It is ASCII. */
  readonly source: Buffer;
  /** V8's code cache of it. */
  readonly code: Uint8Array | undefined;
}

/** A bundle of the command in the folder `dir`. Throws what Node does when it cannot be read. */
export function readBundle(dir: string, name: string): Bundle {
  const file = sourcePlace(dir, name);
  const source = readFileSync(file);
  return { file, source, code: cachedCode(cachePlace(dir, name), source) };
}

/** Stores the code that `readBundle` finds. */
export function storeCode(dir: string, name: string, code: Uint8Array): void {
  const source = readFileSync(sourcePlace(dir, name));
  writeFileSync(cachePlace(dir, name), Buffer.concat([checksumOf(source, code), code]));
}
