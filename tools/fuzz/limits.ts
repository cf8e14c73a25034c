import { openSync, readSync, writeSync } from "node:fs";
import { availableParallelism } from "node:os";

/** What no image may take: time of the processor, so that other programs fail no test, and memory of the process. */
export const MAX_CPU_MS = 5000;
export const MAX_RSS_MIB = 256;
/** The heap of a worker; what lies outside it, buffers above all, shows in the size of the process. */
export const MAX_HEAP_MIB = 192;
export const FIRST_HEAP_MIB = 160;
/** What the programs themselves take before they have seen an image. */
const IDLE_MIB = 96;
/** Garbage of other images is not this one's: what counts is by how much the process grows. Above so much it is collected. */
const COLLECT_MIB = 224;

/** Pages that the collector does not give back are collected once, not before each of the next images. */
const REGROWN_MIB = 16;

const CORES = availableParallelism();

/** Kept open: the kernel is asked a dozen times for each image. */
const status = openSync("/proc/self/status", "r");
const peaks = openSync("/proc/self/clear_refs", "w");
const answer = Buffer.alloc(4096);

/**
 * Size of this process, and the largest since `forgetPeak`. What `getrusage` calls the
 * largest is at least that of the process that started this one, and is never forgotten.
 */
function sizes(): { readonly now: number; readonly peak: number } {
  const text = answer.toString("latin1", 0, readSync(status, answer, 0, answer.length, 0));
  const found = /^VmHWM:\s+(\d+) kB\nVmRSS:\s+(\d+) kB$/m.exec(text);
  if (found === null) throw new Error("/proc/self/status does not say how large the process is");
  return { now: Number(found[2]) / 1024, peak: Number(found[1]) / 1024 };
}

function forgetPeak(): void {
  writeSync(peaks, "5");
}

/** How old a reading of the processor's time may be that a measure begins with: what is older is read again. */
const READING_MS = 100;

/** Said of an image that takes too long, which it may owe to the machine: a core that others share counts their share as ours. */
export class TookTooLong extends Error {
  override readonly name = "TookTooLong";
}

/** Measures what an entry point takes. Called ten times for each image, it asks the system for little. */
export class Meter {
  /** The time of the processor was read shortly before the measure began: at most a little too much is counted. */
  #read = { at: performance.now(), cpu: process.cpuUsage() };
  #size = 0;
  #collectAbove = COLLECT_MIB;

  begin(): void {
    this.#beginAt(sizes().now);
  }

  /**
   * @throws TookTooLong when it took too much time since the last call
   * @throws Error when it took too much memory
   */
  next(): void {
    // No process takes more than all cores for all that time: most need not be asked.
    if ((performance.now() - this.#read.at) * CORES > MAX_CPU_MS) {
      const { user, system } = process.cpuUsage(this.#read.cpu);
      const milliseconds = (user + system) / 1000;
      if (milliseconds > MAX_CPU_MS)
        throw new TookTooLong(`it took ${Math.round(milliseconds)} ms of the processor`);
    }
    const { now, peak } = sizes();
    const grown = peak - this.#size;
    if (grown > MAX_RSS_MIB - IDLE_MIB) throw new Error(`the process grew by ${Math.round(grown)} MiB`);
    this.#beginAt(now);
  }

  #beginAt(size: number): void {
    this.#size = size;
    if (size > this.#collectAbove) {
      globalThis.gc?.();
      this.#size = sizes().now;
      this.#collectAbove = Math.max(COLLECT_MIB, this.#size + REGROWN_MIB);
    }
    const at = performance.now();
    if (at - this.#read.at > READING_MS) this.#read = { at, cpu: process.cpuUsage() };
    forgetPeak();
  }
}
