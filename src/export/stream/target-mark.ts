import { open, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { QcowalError, reasonOf } from "../../errors/index.ts";
import { syncDirectory } from "../new-file.ts";

/** Which stream a target is being changed by. */
export interface TargetMark {
  /** Digest of the whole stream. */
  readonly stream: string;
  /** Digest of what the target held. */
  readonly from: string;
}

/**
 * Lies beside a target from before its first byte changes until all of it is
 * verified: in between its content is that of neither state, and only the same
 * stream may go on.
 */
export const markPath = (target: string): string =>
  join(dirname(target), `.${basename(target)}.qcowal-receive`);

/** @throws QcowalError TARGET_MISMATCH for one that cannot be read */
export async function readMark(target: string): Promise<TargetMark | undefined> {
  const path = markPath(target);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw unreadable(path, error);
  }
  try {
    const mark = JSON.parse(text) as Partial<TargetMark>;
    if (typeof mark.stream === "string" && typeof mark.from === "string") {
      return { stream: mark.stream, from: mark.from };
    }
  } catch (error) {
    throw unreadable(path, error);
  }
  throw unreadable(path, "it says nothing of a stream");
}

/** Durable when it returns. */
export async function writeMark(target: string, mark: TargetMark): Promise<void> {
  const path = markPath(target);
  const temporary = `${path}.new`;
  const handle = await open(temporary, "w", 0o600);
  try {
    await handle.writeFile(`${JSON.stringify(mark)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
  await syncDirectory(dirname(path));
}

/** Once what the target holds is durable. */
export async function removeMark(target: string): Promise<void> {
  await rm(markPath(target), { force: true });
  await syncDirectory(dirname(target));
}

function unreadable(path: string, cause: unknown): QcowalError {
  return new QcowalError(
    "TARGET_MISMATCH",
    `${path} says that a stream was being applied, but not which: ${reasonOf(cause)} Nothing was changed; restore the target from a full stream.`,
    { cause, details: { path } },
  );
}
