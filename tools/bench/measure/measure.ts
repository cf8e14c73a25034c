import { mkdir, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { must, run } from "../../../test/support/programs.ts";
import type { BenchImage } from "../images/catalogue.ts";
import { type BenchOperation, operationsOn } from "../operations.ts";
import { physicalFloor } from "./floor.ts";
import { type IoCounts, NO_IO, countIo, sumOfIo } from "./io-counts.ts";
import { type Measured, type Result, median } from "./result.ts";
import { type TimedOptions, type TimedProcess, timedProcess } from "./timed-process.ts";

const root = resolve(import.meta.dirname, "../../..");
export const OURS: readonly string[] = [process.execPath, join(root, "dist/qcowal.cjs")];
const IN_PROCESS = [process.execPath, "--import", "tsx", join(import.meta.dirname, "in-process.ts")];

/** Longer than this is run once: its noise is small against the difference that is measured. */
const LONG_SECONDS = 8;

const SMALL_IMAGE = 2 ** 30;
const LARGE_IMAGE = 2 ** 41;
/** Calls of an operation in one process that takes milliseconds. */
const WARM_RUNS = 41;

/** A folder in which each run gets a fresh copy of the image. */
class Bench {
  readonly #folder: string;
  readonly #source: string;
  readonly #operation: BenchOperation;

  constructor(folder: string, source: string, operation: BenchOperation) {
    this.#folder = folder;
    this.#source = source;
    this.#operation = operation;
  }

  get image(): string {
    return join(this.#folder, "image.qcow2");
  }

  /** The operations, as a file for `qcowal run`. */
  get batch(): string {
    return join(this.#folder, "operations.json");
  }

  /** A journal that is there already: making one is done once in its life. */
  async fresh(copies = 1): Promise<string[]> {
    await rm(this.#folder, { recursive: true, force: true });
    await mkdir(this.#folder);
    const paths = Array.from({ length: copies }, (_, index) =>
      index === 0 ? this.image : join(this.#folder, `image-${index}.qcow2`),
    );
    for (const path of paths) await must("cp", ["--sparse=always", "--reflink=auto", this.#source, path]);
    await this.#makeJournal();
    await writeFile(this.batch, JSON.stringify(operationsOn(this.image, this.#operation.changes)));
    await must("sync", ["-f", this.image]);
    return paths;
  }

  async #makeJournal(): Promise<void> {
    const small = join(this.#folder, "small.qcow2");
    const [node = "", qcowal = ""] = OURS;
    await must("qemu-img", ["create", "-q", "-f", "qcow2", small, "1M"]);
    await must(node, [qcowal, "create", "first", small]);
    await rm(small);
  }

  get folder(): string {
    return this.#folder;
  }
}

export interface MeasureOptions {
  readonly runs: number;
  /** Seconds after which qemu-img is ended. */
  readonly limit: number;
  readonly onStep: (what: string) => void;
}

/** Everybody in turn, so that what else the machine does meets all alike. */
export async function measure(
  folder: string,
  source: string,
  spec: BenchImage,
  operation: BenchOperation,
  { runs, limit, onStep }: MeasureOptions,
): Promise<Result> {
  const bench = new Bench(folder, source, operation);
  const ours = [[...OURS, ...operation.ours(bench.image, bench.batch)]];
  const peer =
    spec.isWithoutPeer === true
      ? undefined
      : operation.qemu(bench.image).map((words) => ["qemu-img", ...words]);
  const oursRuns: TimedProcess[] = [];
  const peerRuns: TimedProcess[] = [];
  for (let index = 0; index < runs; index += 1) {
    onStep(`run ${index + 1} of ${runs}`);
    oursRuns.push(await once(bench, ours));
    const last = peerRuns.at(-1);
    if (peer !== undefined && (last === undefined || last.seconds < LONG_SECONDS)) {
      peerRuns.push(await once(bench, peer, { limit }));
    }
    if (peer === undefined && (oursRuns[0]?.seconds ?? 0) > LONG_SECONDS) break;
  }
  onStep("memory");
  const ourMemory = await peakMemory(bench, ours, oursRuns);
  const peerMemory = peer === undefined ? 0 : await peakMemory(bench, peer, peerRuns);
  onStep("in process");
  const inProcess = await measureInProcess(bench, operation, copiesOf(spec, runs));
  onStep("system calls");
  const ourIo = await io(bench, ours);
  const peerIo =
    peer === undefined || (peerRuns[0]?.seconds ?? 0) > LONG_SECONDS ? NO_IO : await io(bench, peer);
  onStep("floor");
  const imageBytesWritten = ourIo.bytesWritten - ourIo.journalBytes;
  const floor = await physicalFloor(join(folder, "floor"), ourIo.bytesRead, imageBytesWritten);
  onStep("recover");
  const recover = operation.changes.length === 0 ? undefined : await measureRecover(bench, ours);
  return {
    image: spec.title,
    operation: operation.name,
    ours: measured(oursRuns, ourMemory, ourIo),
    peer: peer === undefined ? undefined : measured(peerRuns, peerMemory, peerIo),
    inProcess,
    floor,
    recover,
  };
}

/**
 * How many copies the operation runs on in one process. A service goes on for
 * weeks, so where an operation takes milliseconds the median must lie behind the
 * first calls, which compile; where it takes seconds that does not show.
 */
function copiesOf({ virtualSize }: BenchImage, runs: number): number {
  if (virtualSize <= SMALL_IMAGE) return WARM_RUNS;
  return Math.min(runs, virtualSize > LARGE_IMAGE ? 1 : 3);
}

/** In bytes, of one run more, where a run is so short that its end was not seen. */
async function peakMemory(bench: Bench, commands: Commands, runs: readonly TimedProcess[]): Promise<number> {
  const isLong = runs.some(({ seconds }) => seconds > LONG_SECONDS);
  const seen = isLong ? runs : [await once(bench, commands, { of: "memory" })];
  return Math.max(...seen.map((run) => run.peakMemory));
}

const measured = (runs: readonly TimedProcess[], peak: number, counts: IoCounts): Measured => ({
  seconds: median(runs.map(({ seconds }) => seconds)),
  runs: runs.length,
  peakMemory: peak,
  ...(runs.some(({ isCutShort }) => isCutShort) ? { isCutShort: true } : {}),
  io: counts,
});

type Commands = readonly (readonly string[])[];

async function once(
  bench: Bench,
  commands: Commands,
  { limit = Number.POSITIVE_INFINITY, of = "time" }: TimedOptions = {},
): Promise<TimedProcess> {
  await bench.fresh();
  let [seconds, peakMemory, isCutShort] = [0, 0, false];
  for (const command of commands) {
    const timed = await timedProcess(command, { limit: limit - seconds, of });
    seconds += timed.seconds;
    peakMemory = Math.max(peakMemory, timed.peakMemory);
    isCutShort ||= timed.isCutShort;
    if (isCutShort) break;
  }
  return { seconds, peakMemory, isCutShort };
}

async function io(bench: Bench, commands: Commands): Promise<IoCounts> {
  await bench.fresh();
  let counts = NO_IO;
  for (const command of commands) counts = sumOfIo(counts, await countIo(command, bench.folder));
  return counts;
}

async function measureInProcess(bench: Bench, { name, changes }: BenchOperation, copies: number) {
  const images = await bench.fresh(copies);
  const [program = "", ...args] = IN_PROCESS;
  const what = changes.length === 0 ? name : "run";
  const printed = await must(program, [...args, what, JSON.stringify(changes), ...images]);
  return median(JSON.parse(printed) as number[]);
}

/** Kills the operation in the middle of what it writes to the image, and times what finishes it. */
async function measureRecover(bench: Bench, [command = []]: Commands): Promise<number> {
  await bench.fresh();
  const { writes, journalWrites } = await countIo(command, bench.folder);
  await bench.fresh();
  const kill = `inject=pwrite64:signal=KILL:when=${Math.ceil((writes - journalWrites) / 2)}`;
  const strace = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", kill];
  // strace counts by thread: with one for all the file's calls, its count is the one meant.
  const ended = await run("strace", [...strace, ...command], { env: { UV_THREADPOOL_SIZE: "1" } });
  if (ended.code === 0) throw new Error("the operation that is to be recovered was not killed");
  const { seconds } = await timedProcess([...OURS, "recover", bench.image]);
  return seconds;
}
