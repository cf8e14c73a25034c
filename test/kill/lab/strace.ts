import { readFile } from "node:fs/promises";
import { UNSIGNALLED, parseStraceLog } from "../../../tools/crash/real/strace-log.ts";
import { type Ended, must, run } from "../../support/programs.ts";

/** Calls that change a file or make it durable, as the image and LevelDB's files see them. */
const CALLS = [
  "write,pwrite64,writev,pwritev,pwritev2",
  "ftruncate,truncate,fallocate",
  "fsync,fdatasync,sync_file_range",
  "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat",
];

/** A call of a traced process that touched one of the watched paths. */
export interface TracedCall {
  readonly thread: number;
  readonly name: string;
  /** How many calls of this name the thread had made with it on watched paths. */
  readonly nth: number;
  /** The file that it touched. */
  readonly path: string;
}

export interface TracedRun extends Ended {
  readonly calls: readonly TracedCall[];
  /** Calls that ran to their end; a kill stops one before it begins. */
  readonly completed: number;
}

/** Which call is to be the last: it does not happen. */
export interface KillAt {
  readonly name: string;
  readonly nth: number;
  /** The files whose calls are counted: those of an undisturbed run. */
  readonly paths: readonly string[];
  /** With an errno the call fails with it instead, and the process lives on. */
  readonly error?: string;
}

/** Every call of a run as a place to kill the next one. */
export function killPoints({ calls }: TracedRun): KillAt[] {
  const paths = [...new Set(calls.map(({ path }) => path))];
  return calls.map(({ name, nth }) => ({ name, nth, paths }));
}

/** A machine without strace must not report success. */
export async function requireStrace(): Promise<void> {
  try {
    await must("strace", ["--version"]);
    const probe = await run("strace", ["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "true"]);
    if (probe.code !== 0) throw new Error(probe.stderr);
  } catch (cause) {
    throw new Error(
      "strace is needed, with the right to trace: sudo apt-get install strace (in a container: --cap-add=SYS_PTRACE)",
      { cause },
    );
  }
}

/**
 * Runs a Node program under strace and lists the calls that touched `watched`,
 * in the order in which they began. With `killAt` the process dies by SIGKILL
 * instead of that call.
 *
 * strace counts per thread and call name, so libuv gets one thread only: then
 * all file work of Node and LevelDB happens there in one order. What the threads
 * write to each other would be counted too, so a kill watches the files alone.
 */
export async function runTraced(
  command: readonly string[],
  watched: readonly string[],
  log: string,
  killAt?: KillAt,
): Promise<TracedRun> {
  const inject =
    killAt === undefined
      ? []
      : [
          ...killAt.paths.flatMap((path) => ["-P", path]),
          "-e",
          `inject=${killAt.name}:${killAt.error === undefined ? "signal=SIGKILL" : `error=${killAt.error}`}:when=${killAt.nth}`,
        ];
  const isKill = killAt !== undefined && killAt.error === undefined;
  const ended = await run(
    "strace",
    [
      ...(isKill ? ["-f"] : UNSIGNALLED),
      "-qq",
      "-y",
      "-s",
      "0",
      "-o",
      log,
      "-e",
      `trace=${CALLS.join(",")}`,
      ...inject,
      "--",
      ...command,
    ],
    { env: { UV_THREADPOOL_SIZE: "1" } },
  );
  return { ...ended, ...parseTrace(await readFile(log, "utf8"), watched) };
}

function parseTrace(text: string, watched: readonly string[]): Pick<TracedRun, "calls" | "completed"> {
  const counts = new Map<string, number>();
  const calls: TracedCall[] = [];
  let completed = 0;
  for (const { thread, name, args, result } of parseStraceLog(text)) {
    const path = pathOf(args, watched);
    if (path === undefined) continue;
    const key = `${thread} ${name}`;
    const nth = (counts.get(key) ?? 0) + 1;
    counts.set(key, nth);
    calls.push({ thread, name, nth, path });
    if (result !== undefined) completed++;
  }
  return { calls, completed };
}

function pathOf(args: string, watched: readonly string[]): string | undefined {
  for (const path of watched) {
    const at = args.indexOf(path);
    if (at < 0) continue;
    const end = args.slice(at + path.length).match(/^[\w./-]*/)?.[0] ?? "";
    // "/d/image" must not stand for "/d/image2".
    if (end === "" || end.startsWith("/")) return path + end;
  }
  return undefined;
}
