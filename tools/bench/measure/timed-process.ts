import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";

export interface TimedProcess {
  readonly seconds: number;
  /** Largest resident set, in bytes. */
  readonly peakMemory: number;
  /** It was ended at the limit: it would have taken longer. */
  readonly isCutShort: boolean;
}

/** A look at a process slows it down: one that is timed is looked at now and then, one that is measured all the time. */
const POLL_MS = { time: 200, memory: 5 } as const;

export interface TimedOptions {
  /** Seconds after which it is ended. */
  readonly limit?: number;
  /** What the run is for: with "time", the memory of a short one is not seen. */
  readonly of?: keyof typeof POLL_MS;
}

/**
 * Runs a command to its end, which must be a good one, or for `limit` seconds;
 * the kernel's own high-water mark tells its memory.
 */
export async function timedProcess(
  command: readonly string[],
  { limit = Number.POSITIVE_INFINITY, of = "time" }: TimedOptions = {},
): Promise<TimedProcess> {
  const [program = "", ...args] = command;
  const started = performance.now();
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  let peakMemory = 0;
  let isCutShort = false;
  const poll = setInterval(() => {
    peakMemory = Math.max(peakMemory, highWaterMark(child.pid ?? 0));
    if (performance.now() - started > limit * 1000) isCutShort = child.kill("SIGKILL");
  }, POLL_MS[of]);
  let words = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (words += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  const seconds = (performance.now() - started) / 1000;
  clearInterval(poll);
  if (code !== 0 && !isCutShort) throw new Error(`${command.join(" ")} ended with ${code}:\n${words}`);
  return { seconds, peakMemory, isCutShort };
}

/** Largest resident set of a running process so far, in bytes. */
export function highWaterMark(pid: number): number {
  try {
    const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return Number(kib ?? 0) * 1024;
  } catch {
    // It has ended between two looks.
    return 0;
  }
}
