import { type FileHandle, open, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { tryLock, unlock } from "fs-native-extensions";
import { lengthBeforeLostEdit } from "./level-manifest.ts";

/**
 * Cuts an edit off that a power cut tore, or whose table it lost, from the end of
 * the MANIFEST of a database that LevelDB does not open. It was never synced, so
 * LevelDB had deleted nothing yet, and goes on from the edit before. Power may
 * fail here as well: the file is cut then, or as it was.
 *
 * Whoever has the database open holds a lock on its file LOCK, which keeps us
 * out, and ours keeps LevelDB out. This process must not have it open: closing
 * the file would give LevelDB's lock away.
 *
 * @returns false when nothing was changed: somebody has it open, or that is not what is wrong
 */
export async function mendManifest(dir: string): Promise<boolean> {
  const lock = await open(join(dir, "LOCK"), "r+").catch(() => undefined);
  if (lock === undefined) return false;
  try {
    if (!tryLock(lock.fd, 0, 1)) return false;
    try {
      return await cutLostEdit(dir);
    } finally {
      unlock(lock.fd, 0, 1);
    }
  } finally {
    await lock.close();
  }
}

async function cutLostEdit(dir: string): Promise<boolean> {
  const name = (await readFile(join(dir, "CURRENT"), "utf8").catch(() => "")).trimEnd();
  if (!/^MANIFEST-\d+$/.test(name)) return false;
  let manifest: FileHandle | undefined;
  try {
    manifest = await open(join(dir, name), "r+");
    const length = lengthBeforeLostEdit(await manifest.readFile(), await readdir(dir));
    if (length === undefined) return false;
    await manifest.truncate(length);
    await manifest.sync();
    return true;
  } catch (error) {
    // What cannot be read or written stays as it is, and LevelDB's own error says what is wrong.
    if (error instanceof Error && "code" in error) return false;
    throw error;
  } finally {
    await manifest?.close();
  }
}
