import type { Journal } from "../../journal/index.ts";
import type { Disk } from "../disk/index.ts";
import type { FenceOwner } from "../format/index.ts";
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
