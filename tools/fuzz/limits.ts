import { readFileSync, writeFileSync } from "node:fs";

/** What no image may take: time of the processor, so that a busy machine fails no test, and memory of the process. */
export const MAX_CPU_MS = 5000;
export const MAX_RSS_MIB = 256;
/** The heap of a worker; what lies outside it, buffers above all, shows in the size of the process. */
export const MAX_HEAP_MIB = 192;
/** What the programs themselves take before they have seen an image. */
const IDLE_MIB = 96;
/** Garbage of other images is not this one's: what counts is by how much the process grows. Above so much it is collected. */
const COLLECT_MIB = 224;

const MIB = 2 ** 20;

/** Largest size of this process since `forgetPeak`. */
function peakMiB(): number {
  const found = /VmHWM:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return found === undefined ? process.memoryUsage.rss() / MIB : Number(found) / 1024;
}

function forgetPeak(): void {
  writeFileSync("/proc/self/clear_refs", "5");
}

/** Measures what an entry point takes. */
export class Meter {
  #began = process.cpuUsage();
  #size = 0;

  begin(): void {
    if (process.memoryUsage.rss() > COLLECT_MIB * MIB) globalThis.gc?.();
    this.#size = process.memoryUsage.rss() / MIB;
    forgetPeak();
    this.#began = process.cpuUsage();
  }

  /** @throws Error when it took too much since `begin` */
  assertWithin(): void {
    const { user, system } = process.cpuUsage(this.#began);
    const milliseconds = (user + system) / 1000;
    if (milliseconds > MAX_CPU_MS) throw new Error(`it took ${Math.round(milliseconds)} ms of the processor`);
    const grown = peakMiB() - this.#size;
    if (grown > MAX_RSS_MIB - IDLE_MIB) throw new Error(`the process grew by ${Math.round(grown)} MiB`);
  }
}
