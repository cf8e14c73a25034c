import { realpath } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";

/**
 * Absolute path with links resolved as far as it exists: a journal that is not
 * made yet and an image that is gone have one name too, and it does not depend
 * on where a link points later.
 */
export async function resolvedPath(path: string): Promise<string> {
  const absolute = resolve(path);
  try {
    return await realpath(absolute);
  } catch {
    const parent = dirname(absolute);
    return parent === absolute ? absolute : join(await resolvedPath(parent), basename(absolute));
  }
}
