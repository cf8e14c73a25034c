import { promisify } from "node:util";
import { constants, inflateRaw } from "node:zlib";
import { zstdFrame } from "./zstd-frame.ts";

const inflate = promisify<Uint8Array, object, Buffer>(inflateRaw);

/** QEMU deflates with a window of 4 KiB, whatever the cluster size. */
const WINDOW_BITS = 12;
/** What zstd itself takes without being told to take more. It is allocated, whatever the cluster size. */
const MAX_WINDOW_BYTES = 128 * 1024 * 1024;

/**
 * The content of a compressed cluster. `stored` may go on behind the stream.
 * @throws Error when that is not exactly one cluster
 */
export async function decompressCluster(
  type: "zlib" | "zstd",
  stored: Uint8Array,
  clusterSize: number,
): Promise<Uint8Array> {
  const content = type === "zlib" ? await inflated(stored, clusterSize) : await unpacked(stored, clusterSize);
  if (content.length !== clusterSize) throw new Error(`the stream holds ${content.length} bytes`);
  return content;
}

/** On a thread of libuv's pool: several at a time. A stream that is cut off behind the last byte is whole for QEMU, too. */
function inflated(stored: Uint8Array, clusterSize: number): Promise<Buffer> {
  return inflate(stored, {
    windowBits: WINDOW_BITS,
    chunkSize: clusterSize,
    maxOutputLength: clusterSize,
    finishFlush: constants.Z_SYNC_FLUSH,
  });
}

/** QEMU takes several frames, too. */
async function unpacked(stored: Uint8Array, clusterSize: number): Promise<Uint8Array> {
  // It makes its tables when it is loaded, and few images need it.
  const { Decompress } = await import("fzstd");
  const content = new Uint8Array(clusterSize);
  let length = 0;
  // In pieces: only so does one hear how long a frame is, and a hostile one stops where the cluster ends.
  const take = (piece: Uint8Array): void => {
    if (length + piece.length > clusterSize) throw new Error("the stream is longer than a cluster");
    content.set(piece, length);
    length += piece.length;
  };
  for (let rest = stored; ;) {
    const frame = zstdFrame(rest);
    if (frame === undefined) throw new Error("the zstd frame is cut off");
    if (frame.window > MAX_WINDOW_BYTES) throw new Error("the zstd window is too large");
    const before = length;
    new Decompress(take).push(rest.subarray(0, frame.length), true);
    if (length === before) throw new Error("a zstd frame is empty");
    if (length === clusterSize) return content;
    rest = rest.subarray(frame.length);
  }
}
