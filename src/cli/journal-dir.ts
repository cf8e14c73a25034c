import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { resolvedPath } from "../../journal/index.ts";
import { misuse } from "./misuse.ts";

/** Name of the journal's directory beside the images. */
const DEFAULT_NAME = ".qcowal";

/** What `--journal` or QCOWAL_JOURNAL says, if either does. */
export function namedJournal(option: string | undefined): string | undefined {
  const name = option ?? process.env["QCOWAL_JOURNAL"];
  if (option === "") throw misuse("--journal needs a directory");
  return name === "" ? undefined : name;
}

/** Beside the file itself, not beside a link to it: there is one journal for one image. */
export async function journalBeside(image: string): Promise<string> {
  const path = await resolvedPath(image);
  if (await isBlockDevice(path)) {
    // What lies beside a device is gone when the machine starts again, and with it what could finish an operation.
    throw misuse(`${image} is a block device: say with --journal where its journal is`);
  }
  return join(dirname(path), DEFAULT_NAME);
}

async function isBlockDevice(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isBlockDevice(),
    () => false,
  );
}

export async function journalHere(): Promise<string> {
  return join(await resolvedPath("."), DEFAULT_NAME);
}

/** The journal of a transaction on these images: the one that is named, or that of the first. */
export async function journalOfFirst(
  [first]: readonly string[],
  option: string | undefined,
): Promise<string> {
  return journalFor(first === undefined ? [] : [first], option);
}

/** The one journal for what is asked of all of these images. */
export async function journalFor(images: readonly string[], option: string | undefined): Promise<string> {
  const named = namedJournal(option);
  if (named !== undefined) return named;
  const [first, ...others] = new Set(await Promise.all(images.map(journalBeside)));
  if (first === undefined) return journalHere();
  if (others.length > 0) {
    throw misuse("the images lie in different directories: say with --journal which journal is meant");
  }
  return first;
}
