import { readFile, readdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { openView } from "../../src/index.ts";
import { UnpackThreads } from "../../src/export/unpack-threads.ts";
import { unpackNatively } from "../../src/export/unpack-zstd.ts";
import { compress, compressible } from "../../tools/image-maker/content.ts";
import { requireBuiltCommand } from "../support/command.ts";
import { must } from "../support/programs.ts";
import { requireQemu, tempDir } from "../support/qemu.ts";
import { streamPlace } from "../support/stream-place.ts";

const CLUSTER = 64 * 1024;
const MIB = 2 ** 20;
const PROGRAM = resolve(import.meta.dirname, "../../dist/unpack-thread.cjs");
/** Threads of one test are gone before the next one counts. */
const SOON_MS = 20;

beforeAll(requireQemu);
beforeAll(requireBuiltCommand);

/** Streams of clusters of some seeds, one behind the other, as a job. */
function jobOf(seeds: readonly number[]) {
  const frames = seeds.map((seed) => compress("zstd", seed, CLUSTER));
  const stored = new SharedArrayBuffer(frames.reduce((sum, { length }) => sum + length, 0));
  let place = 0;
  const streams = frames.map((frame) => {
    new Uint8Array(stored).set(frame, place);
    place += frame.length;
    return { start: place - frame.length, length: frame.length };
  });
  return {
    stored,
    content: new SharedArrayBuffer(seeds.length * CLUSTER),
    clusterSize: CLUSTER,
    streams,
  };
}

const threadsOfProcess = async (): Promise<number> => (await readdir("/proc/self/task")).length;

test("jobs that are asked for at once are each done whole, or left to whoever asked", async () => {
  const threads = new UnpackThreads(PROGRAM, 2, SOON_MS);
  const jobs = Array.from({ length: 20 }, (_, index) => {
    const seeds = [3 * index, 3 * index + 1, 3 * index + 2];
    return { job: jobOf(seeds), seeds };
  });
  const ended = await Promise.all(jobs.map(({ job }) => threads.run(job)));
  // Two for each thread; the others find no place.
  expect(ended.filter((done) => done !== undefined)).toHaveLength(4);
  for (const [index, done] of ended.entries()) {
    const { job, seeds } = jobs[index] as (typeof jobs)[number];
    if (done === undefined) continue;
    expect(done.failed).toBeUndefined();
    const wanted = Buffer.concat(seeds.map((seed) => compressible(seed, CLUSTER)));
    expect(Buffer.from(job.content).equals(wanted), `job ${index}`).toBe(true);
  }
});

test("of a job with a damaged stream it is said which one that is", async () => {
  const threads = new UnpackThreads(PROGRAM, 1, SOON_MS);
  const job = jobOf([1, 2, 3]);
  new Uint8Array(job.stored).fill(0xff, job.streams[1]?.start, (job.streams[1]?.start ?? 0) + 4);
  expect((await threads.run(job))?.failed).toEqual({ stream: 1, reason: "the zstd frame is cut off." });
  expect(await threads.run(jobOf([4]))).not.toHaveProperty("failed");
});

test("without their program nothing is unpacked on other threads, and nothing else happens", async () => {
  // The first ends as soon as it has begun; of the other Node says at once that it is none.
  for (const program of [join(await tempDir(), "none.cjs"), "none.cjs"]) {
    const threads = new UnpackThreads(program, 2);
    expect(await threads.run(jobOf([1]))).toBeUndefined();
    expect(await threads.run(jobOf([2]))).toBeUndefined();
  }
});

test("a thread that has nothing to do ends, and a later job has another", async () => {
  const threads = new UnpackThreads(PROGRAM, 1, SOON_MS);
  const before = await threadsOfProcess();
  expect(await threads.run(jobOf([1]))).toBeDefined();
  expect(await threadsOfProcess()).toBeGreaterThan(before);
  await expect.poll(threadsOfProcess, { timeout: 20_000 }).toBeLessThanOrEqual(before);
  expect(await threads.run(jobOf([2]))).toBeDefined();
});

test("a large zstd image is read as qemu-img reads it, and a damaged stream behind 40 MiB is named", async () => {
  const dir = await tempDir();
  const [raw, path] = [join(dir, "a.raw"), join(dir, "a.qcow2")];
  const content = Buffer.alloc(48 * MIB);
  for (let at = 0; at < content.length; at += 1000) content.write(`line ${at} of a text that goes on\n`, at);
  await writeFile(raw, content);
  await must("qemu-img", ["convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", raw, path]);
  const before = await threadsOfProcess();
  const whole = Buffer.alloc(content.length);
  {
    await using view = await openView(path);
    for (let at = 0; at < whole.length; at += 8 * MIB) await view.read(at, whole.subarray(at, at + 8 * MIB));
  }
  expect(whole.equals(content)).toBe(true);
  // Node's own libzstd has threads already.
  if (unpackNatively === undefined) expect(await threadsOfProcess()).toBeGreaterThan(before);
  const bytes = await readFile(path);
  const stream = await streamPlace(path, (40 * MIB) / CLUSTER);
  bytes.fill(0xff, stream, stream + 16);
  await writeFile(path, bytes);
  await using view = await openView(path);
  await view.read(0, whole.subarray(0, 40 * MIB));
  await expect(view.read(40 * MIB, whole.subarray(40 * MIB))).rejects.toMatchObject({
    code: "IMAGE_INVALID",
    message: expect.stringContaining(`0x${stream.toString(16)}`) as unknown,
  });
});
