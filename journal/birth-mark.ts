/**
 * The journal's id in a file of its own. LevelDB drops what it cannot read and
 * opens without a word, at worst as an empty database; it also deletes the files
 * in which the damage could be seen. A journal that has lost its first record
 * must not be taken for one that was never there, and be begun anew.
 */
import { open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";

const fileOf = (dir: string): string => join(dir, "id");
const ID = /^[0-9a-f-]{36}\n$/;

/** The id of the journal that was made in `dir`; undefined when none was, or a crash came before it was written. */
export async function readBirthMark(dir: string): Promise<string | undefined> {
  const text = await readFile(fileOf(dir), "utf8").catch(() => "");
  return ID.test(text) ? text.trim() : undefined;
}

/** Behind the first record: a crash in between leaves a journal without the mark, which gets it when it is opened next. */
export async function leaveBirthMark(dir: string, id: string): Promise<void> {
  const temporary = `${fileOf(dir)}.new`;
  const file = await open(temporary, "w");
  try {
    await file.writeFile(`${id}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, fileOf(dir));
}
