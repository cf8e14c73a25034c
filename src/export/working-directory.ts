import { mkdtemp, open, readdir, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Disk, openFileDisk } from "../disk/index.ts";
import { isQcowalError } from "../errors/index.ts";

/** Locked as long as the process lives that works there. */
const LOCK = "lock";
/** How often a directory is made anew that another process took for one that was left. */
const ATTEMPTS = 10;

/**
 * A directory beside `target` in which that is made, and of which nothing is left:
 * what a killed process could not remove, the next one with the same target does.
 */
export class WorkingDirectory implements AsyncDisposable {
  readonly path: string;
  readonly #lock: Disk;

  private constructor(path: string, lock: Disk) {
    this.path = path;
    this.#lock = lock;
  }

  /** `purpose` is a part of its name. @throws Error of the file system */
  static async create(target: string, purpose: string): Promise<WorkingDirectory> {
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      const path = await mkdtemp(prefixOf(target, purpose));
      const lock = await lockIn(path);
      if (lock !== undefined) return new WorkingDirectory(path, lock);
    }
    throw new Error(`${dirname(target)}: others remove every new directory.`);
  }

  /** Removes what processes that are gone have left of making `target`. What cannot be removed stays. */
  static async removeLeftOver(target: string, purpose: string): Promise<void> {
    const [directory, prefix] = [dirname(target), basename(prefixOf(target, purpose))];
    for (const entry of await readdir(directory, { withFileTypes: true }).catch(() => [])) {
      const { name } = entry;
      if (!name.startsWith(prefix) || !entry.isDirectory()) continue;
      const path = join(directory, name);
      try {
        const lock = await openFileDisk(join(path, LOCK), "write");
        try {
          await removeAll(path);
        } finally {
          await lock.close();
        }
      } catch (error) {
        // Somebody is at work there. Without a lock it is not begun, or only its end is missing: then it is empty.
        if (isQcowalError(error, "IMAGE_NOT_FOUND")) await rmdir(path).catch(() => undefined);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await removeAll(this.path);
    } finally {
      await this.#lock.close();
    }
  }
}

const prefixOf = (target: string, purpose: string): string =>
  join(dirname(target), `.${basename(target)}.qcowal-${purpose}-`);

/**
 * Between these steps a new directory looks as if it had been left: undefined
 * when another process has taken it for that.
 */
async function lockIn(path: string): Promise<Disk | undefined> {
  const file = join(path, LOCK);
  try {
    await (await open(file, "wx", 0o600)).close();
    const lock = await openFileDisk(file, "write");
    const isOurs = await stat(file).then(
      () => true,
      () => false,
    );
    if (isOurs) return lock;
    await lock.close();
    return undefined;
  } catch (error) {
    const isTaken =
      isQcowalError(error, "IMAGE_IN_USE") ||
      isQcowalError(error, "IMAGE_NOT_FOUND") ||
      (error instanceof Error && "code" in error && error.code === "ENOENT");
    if (isTaken) return undefined;
    await removeAll(path);
    throw error;
  }
}

/** The lock last: whoever is killed in between leaves what can be told from a directory in use. */
async function removeAll(path: string): Promise<void> {
  for (const name of await readdir(path).catch(() => [])) {
    if (name !== LOCK) await rm(join(path, name), { recursive: true, force: true });
  }
  await rm(join(path, LOCK), { force: true });
  await rmdir(path).catch(() => undefined);
}
