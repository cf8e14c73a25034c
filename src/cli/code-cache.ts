import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const DIGEST_BYTES = 32;
const placeIn = (dir: string): string => join(dir, "command.cache");

const sourceIn = (dir: string): Buffer => readFileSync(join(dir, "command.cjs"));

/** What a cache is good for: one source, and one engine. V8 looks at the length of the source only. */
function digestOf(source: Uint8Array, code: Uint8Array): Buffer {
  const engine = `${process.version} ${process.versions.v8} ${process.arch}\n`;
  return createHash("sha256").update(engine).update(source).update(code).digest();
}

export interface CachedCode {
  /** Of `command.cjs`, as it was read: it is ASCII. */
  readonly source: Buffer;
  readonly code: Uint8Array;
}

/**
 * V8's code cache of `command.cjs` in `dir`; undefined where there is none for
 * this version of Node and this source. V8 itself checks no digest: a changed
 * byte would crash it, or be run.
 */
export function cachedCode(dir: string): CachedCode | undefined {
  try {
    const stored = readFileSync(placeIn(dir));
    const source = sourceIn(dir);
    const code = stored.subarray(DIGEST_BYTES);
    return digestOf(source, code).equals(stored.subarray(0, DIGEST_BYTES)) ? { source, code } : undefined;
  } catch {
    // Not there or not readable: the command starts without it.
    return undefined;
  }
}

/** Stores what `cachedCode` reads. */
export function storeCodeCache(dir: string, code: Uint8Array): void {
  writeFileSync(placeIn(dir), Buffer.concat([digestOf(sourceIn(dir), code), code]));
}
