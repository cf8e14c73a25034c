import { openJournal } from "../../journal/index.ts";
import {
  type DryRunReport,
  type RunOptions,
  currentActor,
  dryRun,
  groupByImage,
  realEnvironment,
  topicsOf,
} from "../engine/index.ts";
import type { Operation } from "../plan/index.ts";
import { defaultProgram } from "./default-program.ts";
import type { PoolOptions } from "./pool-options.ts";
import { Pool } from "./pool.ts";

/**
 * Opens the journal in `journalDir`, where every operation on images is
 * recorded before it is carried out. One process holds it at a time.
 * @throws QcowalError JOURNAL_IN_USE, JOURNAL_NOT_FOUND, JOURNAL_DAMAGED, IO_FAILED
 */
export async function openPool(journalDir: string, options: PoolOptions = {}): Promise<Pool> {
  if (typeof journalDir !== "string" || journalDir === "") throw new TypeError("openPool needs a directory");
  const environment = realEnvironment(options.program ?? defaultProgram());
  const { host, pid, program } = currentActor(environment.program, undefined);
  const journal = await openJournal(journalDir, {
    create: options.create ?? true,
    ...(options.waitMs === undefined ? {} : { waitMs: options.waitMs }),
    holder: { host, pid, program },
    topicsOf,
  });
  return new Pool(journal, environment);
}

/**
 * Plans operations without writing anything, neither to an image nor to a
 * journal: what `run` would do, as data.
 */
export async function planOperations(
  operations: readonly Operation[],
  options: RunOptions = {},
): Promise<DryRunReport> {
  const environment = realEnvironment(defaultProgram());
  return dryRun(environment, await groupByImage(environment, operations), options);
}
