/**
 * For a run in which strace sends no signal: the process stops at the calls that are asked for, not
 * at each (which makes a start of Node three times as long). The signal of an injection gets lost that way.
 */
export const UNSIGNALLED = ["-f", "--seccomp-bpf"] as const;

/** A system call as strace tells it. */
export interface LoggedCall {
  readonly thread: number;
  readonly name: string;
  /** What stands between the parentheses. */
  readonly args: string;
  /** As text, with strace's remarks; undefined when the process died in it. */
  readonly result: string | undefined;
  /** Lines of the log where it began and returned: what other threads did in between lies between them. */
  readonly began: number;
  readonly ended: number;
}

/** `12 pwrite64(18</d/image>, ""..., 512, 0) = 512`; of a call that a kill stopped the result is `?` or missing. */
const CALL = /^(\d+) +(\w+)\((.*)$/s;
/** `12 <... pwrite64 resumed>) = 512`, after another thread's line came in between. */
const RESUMED = /^(\d+) +<\.\.\. (\w+) resumed>(.*)$/s;
const UNFINISHED = / ?<unfinished \.\.\.>$/;
const RETURNED = /^(.*)\) += (-?(?:\d|0x).*)$/s;

/** The calls of a log that `strace -f` wrote, in the order in which they began. */
export function parseStraceLog(text: string): LoggedCall[] {
  const calls: LoggedCall[] = [];
  /** By thread, the position in `calls` of what has not returned yet. */
  const open = new Map<number, number>();
  for (const [line, content] of text.split("\n").entries()) {
    const [, resumed, , end] = RESUMED.exec(content) ?? [];
    const at = open.get(Number(resumed));
    const began = at === undefined ? undefined : calls[at];
    if (end !== undefined && at !== undefined && began !== undefined) {
      open.delete(began.thread);
      calls[at] = { ...began, ...returned(began.args + end), ended: line };
      continue;
    }
    const [, thread, name, rest] = CALL.exec(content) ?? [];
    if (thread === undefined || name === undefined || rest === undefined) continue;
    const call = { thread: Number(thread), name, began: line, ended: line };
    if (UNFINISHED.test(rest)) {
      open.set(call.thread, calls.length);
      calls.push({ ...call, args: rest.replace(UNFINISHED, ""), result: undefined });
    } else calls.push({ ...call, ...returned(rest) });
  }
  return calls;
}

function returned(rest: string): Pick<LoggedCall, "args" | "result"> {
  const [, args, result] = RETURNED.exec(rest) ?? [];
  return { args: args ?? rest, result };
}

/** What `-xx` makes of a string. */
export const unescaped = (text: string): Buffer => Buffer.from(text.replaceAll(String.raw`\x`, ""), "hex");
