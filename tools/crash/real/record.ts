import { readFile } from "node:fs/promises";
import { must } from "../../../test/support/programs.ts";
import type { Event } from "./change.ts";
import { LONGEST_WRITE, RECORDED_CALLS, eventsOf } from "./events.ts";
import { parseStraceLog } from "./strace-log.ts";

/**
 * Runs a program that has to succeed and records, contents included, what it
 * does to the files and directories below `root`.
 *
 * libuv gets one thread only: then the file work of Node happens in one order,
 * and a recording is the same in every run.
 */
export async function record(command: readonly string[], root: string, log: string): Promise<Event[]> {
  const options = ["-f", "-qq", "-y", "-xx", "-s", String(LONGEST_WRITE), "-e", "signal=none"];
  await must("strace", [...options, "-e", `trace=${RECORDED_CALLS}`, "-o", log, "--", ...command], {
    env: { UV_THREADPOOL_SIZE: "1" },
  });
  return eventsOf(parseStraceLog(await readFile(log, "latin1")), root);
}
