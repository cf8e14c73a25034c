import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Who holds a journal: a hint for the message that others get, never a lock. */
export interface JournalHolder {
  readonly pid: number;
  readonly host: string;
  readonly program: string;
}

const fileOf = (dir: string): string => join(dir, "holder.json");

/** Failing to leave a hint must not keep anyone from the journal. */
export async function leaveHint(dir: string, holder: JournalHolder, since: number): Promise<void> {
  const hint = { ...holder, since: new Date(since).toISOString() };
  await writeFile(fileOf(dir), JSON.stringify(hint)).catch(() => undefined);
}

export async function removeHint(dir: string): Promise<void> {
  await rm(fileOf(dir), { force: true }).catch(() => undefined);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // The process exists, it is only somebody else's.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/** The holder in words, or undefined when the hint is missing or names a process of this host that is gone. */
export async function describeHolder(dir: string, host: string | undefined): Promise<string | undefined> {
  try {
    const hint = JSON.parse(await readFile(fileOf(dir), "utf8")) as Record<string, unknown>;
    const { pid, program, since } = hint;
    if (typeof pid !== "number" || (hint["host"] === host && !isAlive(pid))) return undefined;
    return `process ${pid} (${String(program)}) on ${String(hint["host"])} since ${String(since)}`;
  } catch {
    return undefined;
  }
}
