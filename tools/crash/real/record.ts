import { readFile } from "node:fs/promises";
import { run } from "../../../test/support/programs.ts";
import type { Event } from "./change.ts";
import { LONGEST_WRITE, RECORDED_CALLS, eventsOf } from "./events.ts";
import { UNSIGNALLED, parseStraceLog } from "./strace-log.ts";

/**
 * Runs a program that has to succeed, or to die by `signal`, and records what it
 * does to the files and directories below `root`, contents included.
 *
 * libuv gets one thread only: then the file work of Node happens in one order,
 * and a recording is the same in every run.
 */
export async function record(
  command: readonly string[],
  root: string,
  log: string,
  signal?: "SIGKILL",
): Promise<Event[]> {
  const options = [...UNSIGNALLED, "-qq", "-y", "-xx", "-s", String(LONGEST_WRITE), "-e", "signal=none"];
  const traced = ["-e", `trace=${RECORDED_CALLS}`, "-o", log, "--", ...command];
  const ended = await run("strace", [...options, ...traced], { env: { UV_THREADPOOL_SIZE: "1" } });
  if (signal === undefined ? ended.code !== 0 : ended.signal !== signal)
    throw new Error(
      `${command.join(" ")} ended with ${ended.code ?? ended.signal}:\n${ended.stderr}${ended.stdout}`,
    );
  return eventsOf(parseStraceLog(await readFile(log, "latin1")), root);
}
