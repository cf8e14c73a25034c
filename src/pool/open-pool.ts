import { type Journal, openJournal } from "../../journal/index.ts";
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
import { guardHolds } from "./guard-holds.ts";
import { journalToRead } from "./journal-to-read.ts";
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
  return new Pool(await openJournalOf(journalDir, environment.program, options), environment);
}

/** The journal of a pool. */
export function openJournalOf(
  dir: string,
  as: string,
  { create = true, waitMs }: Pick<PoolOptions, "create" | "waitMs">,
): Promise<Journal> {
  const { host, pid, program } = currentActor(as, undefined);
  const holder = { host, pid, program };
  return openJournal(dir, { create, ...(waitMs === undefined ? {} : { waitMs }), holder, topicsOf });
}

export interface PlanOperationsOptions extends RunOptions {
  /** Directory of the journal that has the holds: what they refuse is refused. Where there is none, nothing is held. */
  readonly journal?: string;
}

/**
 * Plans operations without writing anything, neither to an image nor to a
 * journal, which it reads beside whoever holds it: what `run` would do, as data.
 * @throws QcowalError what `run` and `openHistory` throw
 */
export async function planOperations(
  operations: readonly Operation[],
  { journal: dir, ...options }: PlanOperationsOptions = {},
): Promise<DryRunReport> {
  const environment = realEnvironment(defaultProgram());
  const groups = await groupByImage(environment, operations);
  const journal = dir === undefined ? undefined : await journalToRead(dir);
  try {
    const guards = journal === undefined ? [] : [guardHolds(journal, environment)];
    return await dryRun(environment, groups, { ...options, guards });
  } finally {
    await journal?.close();
  }
}
