import {
  type DryRunReport,
  type RunOptions,
  dryRun,
  groupByImage,
  realEnvironment,
} from "../engine/index.ts";
import type { Operation } from "../plan/index.ts";
import { defaultProgram } from "./default-program.ts";

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
