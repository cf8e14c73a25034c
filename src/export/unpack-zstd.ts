import { promisify } from "node:util";

/** The content of a zstd frame, of at most `most` bytes; nothing, or an error, for one that is damaged or longer. */
export type UnpackFrame = (frame: Uint8Array, most: number) => Promise<Uint8Array>;

/** Into a buffer that is full zlib and zstd are called once more, only to hear that nothing is left. */
export const SPARE_BYTES = 64;

/** Since Node 22.15. Asked without loading zlib, which few commands need. */
export const hasNativeZstd = "zstd" in process.versions;

/** What the types of Node 20 do not have. */
interface NativeZstd {
  readonly zstdDecompress: Decompress;
}

let zlib: Promise<typeof import("node:zlib")> | undefined;

type Decompress = (
  frame: Uint8Array,
  options: { readonly chunkSize: number; readonly maxOutputLength: number },
  done: (error: Error | null, content: Buffer) => void,
) => void;

/** With the libzstd of Node, on a thread of libuv's pool. */
export const unpackNatively: UnpackFrame = async (frame, most) => {
  const { zstdDecompress } = (await (zlib ??= import("node:zlib"))) as unknown as NativeZstd;
  return promisify(zstdDecompress)(frame, { chunkSize: most + SPARE_BYTES, maxOutputLength: most });
};

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
