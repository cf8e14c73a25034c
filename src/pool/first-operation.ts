import type { Journal } from "../../journal/index.ts";
import {
  FirstPlan,
  type RunOptions,
  type RunReport,
  groupByImage,
  realEnvironment,
  runTransaction,
} from "../engine/index.ts";
import { isQcowalError } from "../errors/index.ts";
import type { Operation } from "../plan/index.ts";
import { defaultProgram } from "./default-program.ts";
import { guardHolds } from "./guard-holds.ts";
import { openJournalOf } from "./open-pool.ts";
import type { PoolOptions } from "./pool-options.ts";

/**
 * Plans operations on images that have no journal yet: what is refused leaves
 * none. Nobody writes to them before `runFirst`, which is to follow, or `close`.
 * @throws QcowalError what `planOperations` throws
 */
export async function planFirst(operations: readonly Operation[], options: RunOptions): Promise<FirstPlan> {
  const environment = realEnvironment(defaultProgram());
  return FirstPlan.make(environment, await groupByImage(environment, operations), options);
}

/**
 * Makes the journal, and carries out what was planned. Undefined when somebody
 * else holds the journal by now: he may want to write to the images that are kept
 * from him, so they are let go.
 * @throws QcowalError what `openPool` and `Pool.run` throw
 */
export async function runFirst(
  first: FirstPlan,
  journalDir: string,
  poolOptions: PoolOptions,
  options: RunOptions,
): Promise<RunReport | undefined> {
  try {
    const environment = realEnvironment(poolOptions.program ?? defaultProgram());
    const journal = await openAtOnce(journalDir, environment.program, poolOptions);
    if (journal === undefined) return undefined;
    try {
      const guards = [guardHolds(journal, environment)];
      return await runTransaction({ journal, environment }, first.groups, { ...options, guards }, first);
    } finally {
      await journal.close();
    }
  } finally {
    await first.close();
  }
}

async function openAtOnce(dir: string, program: string, options: PoolOptions): Promise<Journal | undefined> {
  try {
    return await openJournalOf(dir, program, { ...options, waitMs: 0 });
  } catch (error) {
    if (isQcowalError(error, "JOURNAL_IN_USE")) return undefined;
    throw error;
  }
}
