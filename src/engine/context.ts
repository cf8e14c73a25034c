import type { Journal } from "../../journal/index.ts";
import type { Disk } from "../disk/index.ts";
import { QcowalError } from "../errors/index.ts";
import { type FenceOwner, fenceOwner } from "../format/index.ts";
import type { ImageHead } from "../image/index.ts";
import type { Environment } from "./options.ts";

/** What every transaction needs: the journal and the world around it. */
export interface EngineContext {
  readonly journal: Journal;
  readonly environment: Environment;
}

export function ownerOf(journal: Journal, transaction: number): FenceOwner {
  return { journal: journal.dir, journalId: journal.id, transaction };
}

/** Opens all of them or none. `paths` come in the one order in which every process takes its locks. */
export async function openAll(
  environment: Environment,
  paths: readonly string[],
  mode: "write" | "read",
): Promise<Disk[]> {
  const disks: Disk[] = [];
  try {
    for (const path of paths) disks.push(await environment.openDisk(path, mode));
    return disks;
  } catch (error) {
    await closeAll(disks);
    throw error;
  }
}

export async function closeAll(disks: readonly Disk[]): Promise<void> {
  for (const disk of disks) await disk.close();
}

/**
 * The error for a fenced image that no pending transaction of this journal
 * explains. It names the journal that can finish it.
 */
export function fencedError(path: string, head: ImageHead): QcowalError {
  const owner = fenceOwner(head.area);
  const next =
    owner === undefined
      ? "run 'qcowal recover' with the journal that was used (--journal DIR)"
      : `run: qcowal recover --journal ${shellWord(owner.journal)} ${shellWord(path)}  (transaction ${owner.transaction})`;
  return new QcowalError(
    "NEEDS_RECOVERY",
    `${path} is fenced by an interrupted operation. Nothing was changed; ${next}.`,
    { details: { path, owner } },
  );
}

/** A path as one word of a command that somebody will paste into a shell. */
const shellWord = (path: string): string =>
  /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`;
