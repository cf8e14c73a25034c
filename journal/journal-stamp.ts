import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { LEVEL_DIR } from "./open-journal.ts";
import { resolvedPath } from "./resolved-path.ts";

/**
 * Changes whenever something is appended to the journal in a directory, and costs
 * no more than a look at its files. Empty while there is none.
 */
export async function journalStamp(path: string): Promise<string> {
  const level = join(await resolvedPath(path), LEVEL_DIR);
  const names = await readdir(level).catch(() => []);
  const files = await Promise.all(
    names
      .toSorted((a, b) => (a < b ? -1 : 1))
      .map(async (name) => {
        const file = await stat(join(level, name)).catch(() => undefined);
        return file === undefined ? name : `${name} ${file.size} ${file.mtimeMs}`;
      }),
  );
  return files.join("\n");
}
