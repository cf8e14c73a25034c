import { readFile } from "node:fs/promises";
import { must } from "../../support/programs.ts";

/** What a program did to a file, in the order in which it began. */
export type FileEvent =
  | { readonly kind: "write"; readonly offset: number; readonly data: Buffer }
  | { readonly kind: "truncate"; readonly size: number }
  /** Zeros; grows the file unless it keeps its size. */
  | { readonly kind: "zero"; readonly offset: number; readonly length: number; readonly keepsSize: boolean }
  | { readonly kind: "sync" };

const CALLS = "pwrite64,pwritev,pwritev2,ftruncate,fallocate,fdatasync,fsync";
const LONGEST_WRITE = 4 * 1024 * 1024;

/** Runs a qemu tool on an image and records every event of the file, contents included. */
export async function traceQemu(
  image: string,
  log: string,
  program: string,
  args: readonly string[],
): Promise<FileEvent[]> {
  const options = ["-f", "-qq", "-y", "-xx", "-s", String(LONGEST_WRITE), "-e", "signal=none"];
  await must("strace", [...options, "-e", `trace=${CALLS}`, "-o", log, "--", program, ...args]);
  const lines = (await readFile(log, "utf8")).split("\n");
  return lines.flatMap((line) => {
    const event = parseLine(line, image);
    return event === undefined ? [] : [event];
  });
}

function parseLine(line: string, image: string): FileEvent | undefined {
  const [, name, file = "", rest = ""] = /^\d+ +(\w+)\(\d+<([^>]*)>(?:, )?(.*)$/.exec(line) ?? [];
  if (name === undefined || unescaped(file).toString() !== image) return undefined;
  const numbers = rest
    .replace(/\) += .*$/, "")
    .split(", ")
    .map(Number);
  switch (name) {
    case "fsync":
    case "fdatasync":
      return { kind: "sync" };
    case "ftruncate":
      return { kind: "truncate", size: numbers[0] ?? Number.NaN };
    case "fallocate": {
      const [mode = ""] = rest.split(", ");
      if (!/ZERO_RANGE|PUNCH_HOLE/.test(mode)) return undefined;
      const [, offset = Number.NaN, length = Number.NaN] = numbers;
      return { kind: "zero", offset, length, keepsSize: mode.includes("KEEP_SIZE") };
    }
    default:
      return { kind: "write", offset: offsetOf(rest), data: dataOf(rest) };
  }
}

const unescaped = (text: string): Buffer => Buffer.from(text.replaceAll(String.raw`\x`, ""), "hex");

/** Every quoted string: one for pwrite64, one for each part of pwritev. */
function dataOf(rest: string): Buffer {
  if (/"\.\.\./.test(rest)) throw new Error("a write is longer than what strace was asked to show");
  return Buffer.concat([...rest.matchAll(/"([^"]*)"/g)].map(([, text = ""]) => unescaped(text)));
}

/** The last argument, behind the length or the number of parts. */
function offsetOf(rest: string): number {
  const offset = /(?:\]|")?, \d+, (\d+)(?:, 0)?(?:\)| <unfinished)/.exec(rest)?.[1];
  if (offset === undefined) throw new Error(`no offset in: ${rest.slice(-80)}`);
  return Number(offset);
}

/** What a kill before each event leaves, then what the whole run leaves. */
export function* killStates(before: Buffer, events: readonly FileEvent[]): Generator<Buffer> {
  let state = before;
  for (const event of events) {
    yield state;
    state = after(state, event);
  }
  yield state;
}

function after(state: Buffer, event: FileEvent): Buffer {
  switch (event.kind) {
    case "sync":
      return state;
    case "truncate":
      return resized(state, event.size);
    case "zero": {
      const end = event.offset + event.length;
      const next = resized(state, event.keepsSize ? state.length : Math.max(state.length, end));
      return next.fill(0, Math.min(event.offset, next.length), Math.min(end, next.length));
    }
    case "write": {
      const next = resized(state, Math.max(state.length, event.offset + event.data.length));
      event.data.copy(next, event.offset);
      return next;
    }
  }
}

function resized(state: Buffer, size: number): Buffer {
  const next = Buffer.alloc(size);
  state.copy(next);
  return next;
}
