/**
 * A second view of a LevelDB database that another process may hold, and write to
 * while we look. It shows what a kill of that process would have left.
 *
 * - Each change of what makes up the database is in the MANIFEST before a file
 *   that it makes superfluous is deleted. If the MANIFEST is the same before and
 *   after, nothing was taken away in between.
 * - Only the log with the highest number grows. What was copied of it is a prefix
 *   of what the holder wrote, and LevelDB reads a log up to its last whole record.
 * - Tables never change, and are not copied: they are open here, so that they
 *   stay when the holder deletes them, and stand in the view as links to what is
 *   open. Only those that the MANIFEST names: LevelDB begins new tables with the
 *   next number, and would write into the holder's own file if it stood there.
 */
import { rmSync } from "node:fs";
import {
  type FileHandle,
  access,
  copyFile,
  mkdtemp,
  open,
  readFile,
  readdir,
  rm,
  stat,
  symlink,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hasCode } from "./has-code.ts";
import { lengthBeforeLostEdit, tablesIn } from "./level-manifest.ts";

export interface LevelView {
  /** A directory of ours that LevelDB can open. */
  readonly dir: string;
  /** Removes it. LevelDB has to be closed. */
  readonly remove: () => Promise<void>;
}

/** Views of this process that are not removed yet. */
const views = new Set<string>();
let isTracking = false;

/** Who ends the process in the middle of an answer, as when the reader of a pipe is gone, does not come to `remove`. */
function keepTrackOf(dir: string): void {
  views.add(dir);
  if (isTracking) return;
  isTracking = true;
  process.on("exit", () => {
    for (const left of views) rmSync(left, { recursive: true, force: true });
  });
}

/**
 * One attempt to make a view of the database in `source`, in a directory that
 * only we can read. Cost: what is in LevelDB's log, a few MiB.
 * @returns undefined when the database changed its files meanwhile
 */
export async function viewOfLevel(source: string): Promise<LevelView | undefined> {
  const dir = await mkdtemp(join(tmpdir(), "qcowal-reader-"));
  const handles: FileHandle[] = [];
  keepTrackOf(dir);
  const remove = async (): Promise<void> => {
    views.delete(dir);
    for (const handle of handles.splice(0)) await handle.close();
    await rm(dir, { recursive: true, force: true });
  };
  try {
    if (await fill(source, dir, handles)) return { dir, remove };
  } catch (error) {
    await remove();
    throw error;
  }
  await remove();
  return undefined;
}

/** Returns whether what is there now is of one moment. */
async function fill(source: string, dir: string, handles: FileHandle[]): Promise<boolean> {
  const current = await ifThere(readFile(join(source, "CURRENT"), "utf8"));
  if (current === undefined) return false;
  const name = current.trimEnd();
  await writeNew(dir, "CURRENT", current);
  // Anything else names no file of the database: LevelDB says what it thinks of that.
  if (!/^MANIFEST-\d+$/.test(name)) return true;
  const manifest = await ifThere(readFile(join(source, name)));
  // After the MANIFEST and before the first log: all but the last of them are complete by now.
  const files = await readdir(source);
  // As the next one to open it for writing will mend it.
  const kept = manifest?.subarray(0, lengthBeforeLostEdit(manifest, files));
  if (kept !== undefined) await writeNew(dir, name, kept);
  const tables = kept === undefined ? new Set<number>() : tablesOf(kept);
  for (const file of files) {
    if (file.endsWith(".log")) await ifThere(copyFile(join(source, file), join(dir, file)));
    else if (/^\d+\.(ldb|sst)$/.test(file) && tables.has(Number.parseInt(file, 10))) {
      await ifThere(linkTable(join(source, file), join(dir, file), handles));
    }
  }
  const size = await ifThere(stat(join(source, name)).then((found) => found.size));
  return (await ifThere(readFile(join(source, "CURRENT"), "utf8"))) === current && size === manifest?.length;
}

function tablesOf(manifest: Uint8Array): ReadonlySet<number> {
  try {
    return tablesIn(manifest);
  } catch (error) {
    // LevelDB reads it next, and says what is wrong with it.
    if (error instanceof RangeError) return new Set();
    throw error;
  }
}

async function linkTable(source: string, target: string, handles: FileHandle[]): Promise<void> {
  try {
    const handle = await open(source, "r");
    handles.push(handle);
    await symlink(`/proc/self/fd/${handle.fd}`, target);
    await access(target);
  } catch (error) {
    if (hasCode(error, "ENOENT") && !(await isThere(source))) throw error;
    // No /proc, or no more open files: then it costs its size.
    await rm(target, { force: true });
    await copyFile(source, target);
  }
}

async function writeNew(dir: string, name: string, content: string | Uint8Array): Promise<void> {
  const handle = await open(join(dir, name), "wx", 0o600);
  try {
    await handle.writeFile(content);
  } finally {
    await handle.close();
  }
}

const isThere = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** The holder deletes files as it goes: undefined is for the comparison at the end to explain. */
async function ifThere<Result>(action: Promise<Result>): Promise<Result | undefined> {
  try {
    return await action;
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}
