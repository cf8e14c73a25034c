import { dirname, join } from "node:path";
import type { Event } from "./change.ts";
import { type LoggedCall, unescaped } from "./strace-log.ts";

/** Calls that change files or make them durable; `mmap` only to be sure that nobody writes through one. */
export const RECORDED_CALLS = [
  "open,openat,creat",
  "write,pwrite64,writev,pwritev,pwritev2,mmap",
  "ftruncate,truncate,fallocate",
  "fsync,fdatasync,sync,syncfs,sync_file_range,msync",
  "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir",
  "link,linkat,symlink,symlinkat,copy_file_range,sendfile",
].join(",");

/** The longest string that strace is asked to show. */
export const LONGEST_WRITE = 4 * 1024 * 1024;

type Draft =
  | { readonly at: number; readonly event: Event }
  | { readonly at: number; readonly sync: string; readonly began: number };

/** A part of a call's arguments: `18</d/image>`, `AT_FDCWD</d>`, `"text"`, or anything else up to the comma. */
const ARGUMENT = /\s*(?:(\d+|AT_FDCWD)<([^>]*)>(\(deleted\))?|"([^"]*)"(?:\.\.\.)?|[^,]+)/g;

interface Argument {
  readonly text: string;
  /** Of a descriptor; none once its file has no name any more. */
  readonly path: string | undefined;
  /** Of a string. */
  readonly data: Buffer | undefined;
}

/**
 * The events of one process on the files and directories below `root`, from
 * what strace said with `-f -y -xx`. Throws at a call on them that it cannot
 * follow, rather than record too little.
 */
export function eventsOf(calls: readonly LoggedCall[], root: string): Event[] {
  /** Where `write` goes on, by descriptor. */
  const positions = new Map<string, number>();
  const drafts = calls
    .filter(({ result }) => result !== undefined && !result.startsWith("-"))
    .toSorted((a, b) => effectOf(a) - effectOf(b))
    .flatMap((call) => draftsOf(call, root, positions));
  return drafts.map((draft): Event => {
    if ("event" in draft) return draft.event;
    const covers = drafts.filter(({ at }) => at < draft.began).length;
    return { kind: "sync", path: draft.sync, covers };
  });
}

const SYNCS = new Set(["fsync", "fdatasync"]);

/** An open is known by what it returns, a sync counts when it returns; any other call may have had effect at once. */
const effectOf = ({ name, began, ended }: LoggedCall): number =>
  SYNCS.has(name) || name.startsWith("open") ? ended : began;

function draftsOf(call: LoggedCall, root: string, positions: Map<string, number>): Draft[] {
  const args = argumentsOf(call);
  const isBelow = (path: string | undefined): path is string =>
    path !== undefined && (path === root || path.startsWith(`${root}/`));
  const at = effectOf(call);
  const events = (...found: readonly Event[]): Draft[] => found.map((event) => ({ at, event }));
  const [first] = args;
  switch (call.name) {
    case "open":
    case "openat": {
      const [descriptor = ""] = /^\d+/.exec(call.result ?? "") ?? [];
      positions.set(descriptor, 0);
      const path = pathsOf(args)[0];
      if (!isBelow(path)) return [];
      const flags = args.find(({ text }) => /O_(RDONLY|WRONLY|RDWR)/.test(text))?.text ?? "";
      if (/O_APPEND|O_TMPFILE/.test(flags)) return refuse(call);
      return events(
        ...(flags.includes("O_CREAT") ? [{ kind: "create", path } as const] : []),
        ...(flags.includes("O_TRUNC") ? [{ kind: "truncate", path, size: 0 } as const] : []),
      );
    }
    case "write":
    case "writev": {
      if (!isBelow(first?.path)) return [];
      const descriptor = first.text;
      const offset = positions.get(descriptor);
      if (offset === undefined) return refuse(call);
      const data = written(call);
      positions.set(descriptor, offset + data.length);
      return events({ kind: "write", path: first.path, offset, data });
    }
    case "pwrite64":
    case "pwritev":
    case "pwritev2": {
      if (!isBelow(first?.path)) return [];
      const offset = Number(args[call.name === "pwritev2" ? args.length - 2 : args.length - 1]?.text);
      if (!Number.isSafeInteger(offset)) return refuse(call);
      return events({ kind: "write", path: first.path, offset, data: written(call) });
    }
    case "ftruncate":
      if (!isBelow(first?.path)) return [];
      return events({ kind: "truncate", path: first.path, size: Number(args[1]?.text) });
    case "fallocate": {
      if (!isBelow(first?.path)) return [];
      const [mode = "", offset, length] = args.slice(1).map(({ text }) => text);
      const range = { path: first.path, offset: Number(offset), length: Number(length) };
      if (!/ZERO_RANGE|PUNCH_HOLE/.test(mode)) return mode.includes("KEEP_SIZE") ? [] : refuse(call);
      return events({ kind: "zero", ...range, keepsSize: mode.includes("KEEP_SIZE") });
    }
    case "fsync":
    case "fdatasync":
      return isBelow(first?.path) ? [{ at, sync: first.path, began: call.began }] : [];
    case "rename":
    case "renameat":
    case "renameat2": {
      const [path, to] = pathsOf(args);
      if (!isBelow(path) && !isBelow(to)) return [];
      // Between two directories it would be two pending changes that come or go together.
      if (path === undefined || to === undefined || dirname(path) !== dirname(to)) return refuse(call);
      return events({ kind: "rename", path, to });
    }
    case "link":
    case "linkat": {
      const [path, to] = pathsOf(args);
      if (!isBelow(path) && !isBelow(to)) return [];
      return path === undefined || to === undefined ? refuse(call) : events({ kind: "link", path, to });
    }
    case "mkdir":
    case "mkdirat":
    case "unlink":
    case "unlinkat":
    case "rmdir": {
      const [path] = pathsOf(args);
      if (!isBelow(path)) return [];
      return events({ kind: call.name.startsWith("mkdir") ? "mkdir" : "unlink", path });
    }
    case "mmap":
      // Shared and writable: writes that no call tells of.
      return call.args.includes("MAP_SHARED") &&
        call.args.includes("PROT_WRITE") &&
        args.some(({ path }) => isBelow(path))
        ? refuse(call)
        : [];
    default:
      return args.some(({ path }) => isBelow(path)) || pathsOf(args).some(isBelow) ? refuse(call) : [];
  }
}

function argumentsOf({ args }: LoggedCall): Argument[] {
  return [...args.matchAll(ARGUMENT)]
    .map(([whole, descriptor, path, deleted, data]) => ({
      text: (descriptor ?? whole).trim(),
      path: path === undefined || deleted !== undefined ? undefined : unescaped(path).toString(),
      data: data === undefined ? undefined : unescaped(data),
    }))
    .filter(({ text }) => text !== "");
}

/** Absolute: a string is relative to the descriptor before it. */
function pathsOf(args: readonly Argument[]): string[] {
  return args.flatMap(({ data }, index) => {
    if (data === undefined) return [];
    const name = data.toString();
    return [name.startsWith("/") ? name : join(args[index - 1]?.path ?? "/", name)];
  });
}

/** What was really written: every string of it, cut where the call stopped. */
function written({ args, result }: LoggedCall): Buffer {
  if (/"\.\.\./.test(args)) throw new Error("a write is longer than what strace was asked to show");
  const parts = [...args.matchAll(/"([^"]*)"/g)].map(([, text = ""]) => unescaped(text));
  return Buffer.concat(parts).subarray(0, Number.parseInt(result ?? "0", 10));
}

function refuse({ name, args, result }: LoggedCall): never {
  throw new Error(`the recorder cannot follow ${name}(${args.slice(0, 200)}) = ${result}`);
}
