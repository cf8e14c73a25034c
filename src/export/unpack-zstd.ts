import * as zlib from "node:zlib";
import { promisify } from "node:util";

/** The content of a zstd frame, of at most `most` bytes; nothing, or an error, for one that is damaged or longer. */
export type UnpackFrame = (frame: Uint8Array, most: number) => Promise<Uint8Array>;

interface FrameOptions {
  readonly chunkSize: number;
  readonly maxOutputLength: number;
}

/** Into a buffer that is full zlib and zstd are called once more, only to hear that nothing is left. */
export const SPARE_BYTES = 64;

/** With the libzstd of Node, on a thread of libuv's pool. Undefined before Node 22.15, which has none. */
export const unpackNatively: UnpackFrame | undefined = nativeUnpack();

function nativeUnpack(): UnpackFrame | undefined {
  if (!("zstdDecompress" in zlib)) return undefined;
  const decompress = promisify(
    zlib.zstdDecompress as (
      frame: Uint8Array,
      options: FrameOptions,
      done: (error: Error | null, content: Buffer) => void,
    ) => void,
  );
  return (frame, most) => decompress(frame, { chunkSize: most + SPARE_BYTES, maxOutputLength: most });
}

type Zstd = typeof import("@foxglove/wasm-zstd");

let zstd: Promise<Zstd> | undefined;

/** It is compiled when it is loaded, and few images need it. */
async function loadZstd(): Promise<Zstd> {
  const loaded = await import("@foxglove/wasm-zstd");
  await loaded.isLoaded;
  return loaded;
}

/** With libzstd as WebAssembly, which writes no byte beyond `most`. */
export const unpackPortably: UnpackFrame = async (frame, most) =>
  (await (zstd ??= loadZstd())).decompress(frame, most);
