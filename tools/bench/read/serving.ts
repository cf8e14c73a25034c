import { type ChildProcess, spawn } from "node:child_process";
import { rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { must } from "../../../test/support/programs.ts";
import { OURS } from "../measure/measure.ts";
import { median } from "../measure/result.ts";
import { highWaterMark } from "../measure/timed-process.ts";
import { type ReadImage, SNAPSHOT, type Stored } from "./read-images.ts";

/** What a client sees of a server. Latencies in seconds. */
export interface Answers {
  readonly bytesPerSecond: number;
  readonly requestsPerSecond: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

export interface Served {
  /** Size of the disk. */
  readonly gibibytes: number;
  readonly stored: Stored;
  readonly load: string;
  readonly runs: number;
  readonly ours: Answers;
  readonly peer: Answers;
  /** Of the server until then, in bytes. */
  readonly memory: { readonly ours: number; readonly peer: number };
}

interface Load {
  readonly name: string;
  readonly fio: readonly string[];
}

const random = (depth: number, seconds: number): Load => ({
  name: `4 KiB at random, depth ${depth}`,
  fio: ["--rw=randread", "--bs=4k", `--iodepth=${depth}`, "--time_based", `--runtime=${seconds}`],
});

const loads = (seconds: number): readonly Load[] => [
  { name: "1 MiB in order, depth 4", fio: ["--rw=read", "--bs=1M", "--iodepth=4"] },
  random(1, seconds),
  random(16, seconds),
];

const START_MS = 30_000;

interface Server {
  readonly process: ChildProcess;
  readonly uri: string;
}

/** Both serve the same snapshot at the same time, on a Unix socket each, and are asked in turn. */
export async function measureServing(
  folder: string,
  { stored, path, gibibytes }: ReadImage,
  { runs, seconds }: { readonly runs: number; readonly seconds: number },
  onStep: (what: string) => void,
): Promise<Served[]> {
  const [ourSocket, peerSocket] = [join(folder, "ours.sock"), join(folder, "peer.sock")];
  const ours = await start([...OURS, "serve", "-q", path, "--socket", ourSocket], ourSocket, path);
  const peer = await start(
    ["qemu-nbd", "-r", "-t", "-e", "4", "-f", "qcow2", "-l", SNAPSHOT, "-k", peerSocket, path],
    peerSocket,
  );
  const results: Served[] = [];
  try {
    for (const { name, fio } of loads(seconds)) {
      const [ourRuns, peerRuns]: [Answers[], Answers[]] = [[], []];
      for (let run = 1; run <= runs; run += 1) {
        onStep(`serving, ${stored}, ${name}, run ${run} of ${runs}`);
        ourRuns.push(await ask(ours.uri, fio));
        peerRuns.push(await ask(peer.uri, fio));
      }
      const memory = {
        ours: highWaterMark(ours.process.pid ?? 0),
        peer: highWaterMark(peer.process.pid ?? 0),
      };
      const answers = { ours: middle(ourRuns), peer: middle(peerRuns) };
      results.push({ gibibytes, stored, load: name, runs, ...answers, memory });
    }
  } finally {
    await Promise.all([stop(ours), stop(peer)]);
    await Promise.all([ourSocket, peerSocket].map((socket) => rm(socket, { force: true })));
  }
  return results;
}

async function start(command: readonly string[], socket: string, image?: string): Promise<Server> {
  const [program = "", ...args] = command;
  const process = spawn(program, args, { stdio: ["ignore", "ignore", "inherit"] });
  const name = image === undefined ? "" : encodeURIComponent(`${basename(image, ".qcow2")}@${SNAPSHOT}`);
  for (const end = performance.now() + START_MS; ; await sleep(20)) {
    if (await stat(socket).catch(() => undefined)) break;
    if (process.exitCode !== null || performance.now() > end) throw new Error(`${program} does not serve`);
  }
  return { process, uri: `nbd+unix:///${name}?socket=${socket}` };
}

async function stop({ process }: Server): Promise<void> {
  if (process.exitCode !== null) return;
  const ended = new Promise((resolve) => process.once("close", resolve));
  process.kill("SIGTERM");
  await ended;
}

interface FioReport {
  readonly jobs: readonly {
    readonly error: number;
    readonly read: {
      readonly bw_bytes: number;
      readonly iops: number;
      readonly clat_ns: { readonly percentile: Readonly<Record<string, number>> };
    };
  }[];
}

async function ask(uri: string, load: readonly string[]): Promise<Answers> {
  const output = await must("fio", [
    "--name=read",
    "--ioengine=nbd",
    `--uri=${uri}`,
    "--randseed=1",
    "--output-format=json",
    ...load,
  ]);
  // Words of the engine may stand before the report.
  const { jobs } = JSON.parse(output.slice(output.indexOf("{"))) as FioReport;
  const [job] = jobs;
  if (job === undefined || job.error !== 0) throw new Error(`fio failed:\n${output}`);
  const { bw_bytes: bytesPerSecond, iops: requestsPerSecond, clat_ns: latency } = job.read;
  const percentile = (share: string): number => (latency.percentile[share] ?? 0) / 1e9;
  return {
    bytesPerSecond,
    requestsPerSecond,
    p50: percentile("50.000000"),
    p95: percentile("95.000000"),
    p99: percentile("99.000000"),
  };
}

function middle(runs: readonly Answers[]): Answers {
  const of = (value: (answers: Answers) => number): number => median(runs.map(value));
  return {
    bytesPerSecond: of((answers) => answers.bytesPerSecond),
    requestsPerSecond: of((answers) => answers.requestsPerSecond),
    p50: of(({ p50 }) => p50),
    p95: of(({ p95 }) => p95),
    p99: of(({ p99 }) => p99),
  };
}
