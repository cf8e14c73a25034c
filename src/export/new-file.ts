import { link, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

const NO_LINKS = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "EMLINK"]);

/**
 * Gives a whole and synced file its name, durably. A link replaces no file that
 * came into being meanwhile, as a rename would: that is an error (EEXIST).
 */
export async function nameNewFile(temporary: string, name: string): Promise<void> {
  try {
    await link(temporary, name);
    await rm(temporary);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (!NO_LINKS.has(code)) throw error;
    await rename(temporary, name);
  }
  await syncDirectory(dirname(name));
}

/** Makes names durable. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
