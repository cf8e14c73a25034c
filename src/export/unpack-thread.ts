/** The other thread of `UnpackThreads`: unpacks the zstd streams that it is sent. */
import { type MessagePort, parentPort } from "node:worker_threads";
import { reasonOf } from "../errors/index.ts";
import { unpackFrames } from "./decompress.ts";
import type { UnpackJob, UnpackedJob } from "./unpack-job.ts";
import { unpackPortably } from "./unpack-zstd.ts";

async function unpack({ id, stored, content, clusterSize, streams }: UnpackJob): Promise<UnpackedJob> {
  const target = new Uint8Array(content);
  for (const [stream, { start, length }] of streams.entries()) {
    try {
      const bytes = new Uint8Array(stored, start, length);
      target.set(await unpackFrames(bytes, clusterSize, unpackPortably), stream * clusterSize);
    } catch (error) {
      return { id, failed: { stream, reason: reasonOf(error) } };
    }
  }
  return { id };
}

function serve(port: MessagePort): void {
  port.on("message", (job: UnpackJob) => void unpack(job).then((done) => port.postMessage(done)));
}

if (parentPort !== null) serve(parentPort);
