import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { reasonOf } from "../errors/index.ts";
import { decompressCluster } from "./decompress.ts";
import { inParallel } from "./parallel.ts";
import { SHARED_BYTES, SharedBuffers } from "./shared-buffers.ts";
import { UnpackThreads } from "./unpack-threads.ts";
import { unpackNatively } from "./unpack-zstd.ts";

/** A stream in what was read of a file, and where the content of its cluster is wanted. */
export interface StoredStream {
  /** Where in what was read it begins, and how long it may be. */
  readonly start: number;
  readonly length: number;
  readonly target: Uint8Array;
}

/** Which stream is damaged, and why. */
export class DamagedStream extends Error {
  readonly index: number;

  constructor(index: number, reason: string) {
    super(reason);
    this.index = index;
  }
}

/** Unpacked so much, a process goes on: then a thread, which takes longer to start than this, is worth its memory. */
const WARM_UP_BYTES = 16 * 1024 * 1024;
/** Of libuv's threads; what has none of them takes its turn. */
const UNPACKED_AT_A_TIME = 8;
/** One core is left for whoever reads and writes; each thread takes some 25 MiB. */
const MOST_THREADS = 3;

/** What Node unpacks itself it does on threads of its own; WebAssembly runs on the one that calls it. */
const needsThreads = (type: "zlib" | "zstd"): boolean => type === "zstd" && unpackNatively === undefined;

let threads: UnpackThreads | undefined;
let unpackedHere = 0;
const buffers = new SharedBuffers();

/** Lends memory for what is read of a file and unpacked with `unpackRun`. */
export async function withRunBuffer(
  type: "zlib" | "zstd",
  length: number,
  use: (stored: Buffer) => Promise<void>,
): Promise<void> {
  if (!needsThreads(type)) return use(Buffer.allocUnsafeSlow(length));
  return buffers.lend(length, (shared) => use(Buffer.from(shared, 0, length)));
}

/** How many whole clusters are unpacked together: some six milliseconds of work. */
export const clustersAtATime = (clusterSize: number): number =>
  Math.max(1, Math.floor(SHARED_BYTES / clusterSize));

/**
 * Unpacks whole clusters, `clustersAtATime` at most, on as many cores as there are. `stored` is what `withRunBuffer` lends.
 * @throws DamagedStream
 */
export async function unpackRun(
  type: "zlib" | "zstd",
  stored: Buffer,
  streams: readonly StoredStream[],
  clusterSize: number,
): Promise<void> {
  const shared = stored.buffer;
  if (shared instanceof SharedArrayBuffer && unpackedHere >= WARM_UP_BYTES) {
    if (await unpackElsewhere(shared, streams, clusterSize)) return;
  }
  unpackedHere += streams.length * clusterSize;
  await inParallel(streams.entries(), UNPACKED_AT_A_TIME, async ([index, { start, length, target }]) => {
    try {
      target.set(await decompressCluster(type, stored.subarray(start, start + length), clusterSize));
    } catch (error) {
      throw new DamagedStream(index, reasonOf(error));
    }
  });
}

/** False when no other thread has time. */
async function unpackElsewhere(
  stored: SharedArrayBuffer,
  streams: readonly StoredStream[],
  clusterSize: number,
): Promise<boolean> {
  const others = (threads ??= newThreads());
  return buffers.lend(streams.length * clusterSize, async (content) => {
    const places = streams.map(({ start, length }) => ({ start, length }));
    const done = await others.run({ stored, content, clusterSize, streams: places });
    if (done === undefined) return false;
    if (done.failed !== undefined) throw new DamagedStream(done.failed.stream, done.failed.reason);
    for (const [index, { target }] of streams.entries()) {
      target.set(new Uint8Array(content, index * clusterSize, clusterSize));
    }
    return true;
  });
}

/** The build bundles what a thread runs: it starts from one file, whether the command or the library started it. */
function newThreads(): UnpackThreads {
  const most = Math.min(availableParallelism() - 1, MOST_THREADS);
  try {
    const home = dirname(createRequire(import.meta.url).resolve("qcowal/package.json"));
    return new UnpackThreads(join(home, "dist/unpack-thread.cjs"), most);
  } catch {
    // In somebody's bundle there is no package to find it in.
    return new UnpackThreads("", 0);
  }
}
