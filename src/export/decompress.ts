import { promisify } from "node:util";
import { constants, inflateRaw } from "node:zlib";
import { SPARE_BYTES, type UnpackFrame, unpackNatively, unpackPortably } from "./unpack-zstd.ts";
import { zstdFrame } from "./zstd-frame.ts";

const inflate = promisify<Uint8Array, object, Buffer>(inflateRaw);

/** QEMU deflates with a window of 4 KiB, whatever the cluster size. */
export const WINDOW_BITS = 12;
/** What zstd itself takes without being told to take more: a stream that needs more memory is none for QEMU. */
const MAX_WINDOW_BYTES = 128 * 1024 * 1024;
const NOTHING = new Uint8Array(0);

/**
 * The content of a compressed cluster. `stored` may go on behind the stream.
 * @throws Error when that is not exactly one cluster
 */
export async function decompressCluster(
  type: "zlib" | "zstd",
  stored: Uint8Array,
  clusterSize: number,
): Promise<Uint8Array> {
  const content =
    type === "zlib" ? await inflated(stored, clusterSize) : await unpackFrames(stored, clusterSize);
  if (content.length !== clusterSize) throw new Error(`the stream holds ${content.length} bytes`);
  return content;
}

/** On a thread of libuv's pool: several at a time. A stream that is cut off behind the last byte is whole for QEMU, too. */
function inflated(stored: Uint8Array, clusterSize: number): Promise<Buffer> {
  return inflate(stored, {
    windowBits: WINDOW_BITS,
    chunkSize: clusterSize + SPARE_BYTES,
    maxOutputLength: clusterSize,
    finishFlush: constants.Z_SYNC_FLUSH,
  });
}

/**
 * The content of a cluster in zstd frames: QEMU takes several, too.
 * @throws Error when it is none, or longer than the cluster
 */
export async function unpackFrames(
  stored: Uint8Array,
  clusterSize: number,
  unpack: UnpackFrame = unpackNatively ?? unpackPortably,
): Promise<Uint8Array> {
  let content: Uint8Array | undefined;
  let length = 0;
  for (let rest = stored; ;) {
    const frame = zstdFrame(rest);
    if (frame === undefined) throw new Error("the zstd frame is cut off");
    if (frame.window > MAX_WINDOW_BYTES) throw new Error("the zstd window is too large");
    const part = await unpack(rest.subarray(0, frame.length), clusterSize - length).catch(() => NOTHING);
    if (part.length === 0) throw new Error("a zstd frame is empty, damaged, or longer than the cluster");
    if (part.length === clusterSize) return part;
    content ??= new Uint8Array(clusterSize);
    content.set(part, length);
    length += part.length;
    if (length === clusterSize) return content;
    rest = rest.subarray(frame.length);
  }
}
