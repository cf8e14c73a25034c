import type { FileHandle } from "node:fs/promises";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { constants, deflateRaw } from "node:zlib";
import { type Geometry, roundUp } from "../format/index.ts";
import { isZeros } from "../image/index.ts";
import { contentWindows } from "./content-windows.ts";
import { WINDOW_BITS } from "./decompress.ts";
import { newGeometry } from "./new-geometry.ts";
import { NewQcow2 } from "./new-qcow2.ts";
import { type OutputOptions, assertNotCalledOff, writeNewOutput } from "./new-output.ts";
import { inParallel } from "./parallel.ts";
import { readAhead } from "./read-ahead.ts";
import type { View } from "./view.ts";

export interface WriteQcow2Options extends OutputOptions {
  /** Default: zlib. */
  readonly compress?: "zlib" | "none";
}

export interface WrittenQcow2 {
  /** Absolute path. */
  readonly path: string;
  /** Of the disk: that of the view in whole sectors. */
  readonly size: number;
  /** Bytes of the disk's clusters that hold data; the rest reads as zeros. */
  readonly written: number;
  /** Length of the file. */
  readonly fileSize: number;
}

const deflate = promisify<Uint8Array, object, Buffer>(deflateRaw);

const SECTOR = 512;
const WINDOW_BYTES = 1024 * 1024;
/** Windows of which the clusters are compressed while those of an earlier one are written. */
const WINDOWS_AHEAD = 3;
const DEFLATED_AT_A_TIME = 8;
/** zlib stores what it cannot shorten, with 5 bytes for each 16 KiB: with room for that it is called once. */
const STORED_SHARE = 1024;

/**
 * Writes the content as a qcow2 image of its own: no backing file, no snapshots, clusters of
 * 64 KiB. It gets its name as by `writeRaw`. Memory is bounded whatever the size of the disk:
 * some 20 MiB, and 8 bytes for each 512 MiB of it.
 * @throws TypeError for malformed options
 * @throws QcowalError OUTPUT_EXISTS, LIMIT_EXCEEDED, NO_SPACE, IO_FAILED, ABORTED, and what reading throws
 */
export async function writeQcow2(
  view: View,
  path: string,
  options: WriteQcow2Options = {},
): Promise<WrittenQcow2> {
  const { compress = "zlib" } = options;
  if (compress !== "zlib" && compress !== "none") throw new TypeError('compress is "zlib" or "none"');
  const target = resolve(path);
  const size = roundUp(view.size, SECTOR);
  const geometry = newGeometry(size);
  const filled = await writeNewOutput(view, target, options, async (handle) =>
    fill(handle, view, geometry, { ...options, compress }),
  );
  return { path: target, size, ...filled };
}

interface Cluster {
  readonly index: number;
  readonly content: Uint8Array;
  readonly isStream: boolean;
}

async function fill(
  handle: FileHandle,
  view: View,
  geometry: Geometry,
  { compress, signal, onProgress }: WriteQcow2Options,
): Promise<{ readonly written: number; readonly fileSize: number }> {
  const { clusterSize } = geometry;
  const windowBytes = Math.max(WINDOW_BYTES, clusterSize);
  const image = new NewQcow2(handle, geometry, roundUp(view.size, SECTOR));
  const read = async (offset: number): Promise<{ readonly end: number; readonly clusters: Cluster[] }> => {
    const end = Math.min(offset + windowBytes, view.size);
    // The last cluster is stored whole, too.
    const bytes = Buffer.allocUnsafeSlow(roundUp(end - offset, clusterSize)).fill(0, end - offset);
    await view.read(offset, bytes.subarray(0, end - offset));
    const indices = Array.from({ length: bytes.length / clusterSize }, (_, index) => index);
    const clusters: Cluster[] = [];
    await inParallel(indices, DEFLATED_AT_A_TIME, async (index) => {
      const content = bytes.subarray(index * clusterSize, (index + 1) * clusterSize);
      if (isZeros(content)) return;
      const place = offset / clusterSize + index;
      const stream = compress === "zlib" ? await deflated(content) : content;
      const isStream = stream.length < clusterSize;
      clusters[index] = { index: place, content: isStream ? stream : content, isStream };
    });
    return { end, clusters: clusters.filter((cluster) => cluster !== undefined) };
  };
  let written = 0;
  for await (const { end, clusters } of readAhead(
    contentWindows(view, windowBytes, signal),
    WINDOWS_AHEAD,
    read,
  )) {
    assertNotCalledOff(signal);
    for (const { index, content, isStream } of clusters) {
      if (isStream) await image.addStream(index, content);
      else await image.addPlain(index, content);
    }
    written += clusters.length * clusterSize;
    onProgress?.(end, view.size);
  }
  assertNotCalledOff(signal);
  return { written, fileSize: await image.finish() };
}

/** As QEMU does, on a thread of libuv's pool. */
function deflated(content: Uint8Array): Promise<Buffer> {
  return deflate(content, {
    windowBits: WINDOW_BITS,
    memLevel: constants.Z_MAX_MEMLEVEL,
    chunkSize: content.length + STORED_SHARE,
  });
}
