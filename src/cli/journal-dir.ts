import { realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { misuse } from "./misuse.ts";

/** Name of the journal's directory beside the images. */
const DEFAULT_NAME = ".qcowal";

/** What `--journal` or QCOWAL_JOURNAL says, if either does. */
export function namedJournal(option: string | undefined): string | undefined {
  const name = option ?? process.env["QCOWAL_JOURNAL"];
  if (option === "") throw misuse("--journal needs a directory");
  return name === "" ? undefined : name;
}

/** Absolute path with links resolved as far as files exist: a deleted image still has a history. */
function resolved(path: string): string {
  const absolute = resolve(path);
  try {
    return realpathSync(absolute);
  } catch {
    const parent = dirname(absolute);
    return parent === absolute ? absolute : join(resolved(parent), basename(absolute));
  }
}

export function journalBeside(image: string): string {
  return join(dirname(resolved(image)), DEFAULT_NAME);
}

export const journalHere = (): string => join(resolved("."), DEFAULT_NAME);

/** The one journal for a transaction on all of these images. */
export function journalFor(images: readonly string[], option: string | undefined): string {
  const named = namedJournal(option);
  if (named !== undefined) return named;
  const [first, ...others] = new Set(images.map(journalBeside));
  if (first === undefined) return journalHere();
  if (others.length > 0) {
    throw misuse(
      "the images lie in different directories: say with --journal which journal is to hold the transaction",
    );
  }
  return first;
}
