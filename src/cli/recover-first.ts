/**
 * An operation recovers what is pending on its images before it plans. Where
 * somebody is asked about the plan, or an undo is made of it, that comes before.
 */
import { journalExists } from "../../journal/index.ts";
import { type Pool, isQcowalError, openPool } from "../index.ts";
import { type WriteOptions, poolOptionsOf, recordOf } from "./options.ts";
import type { Terminal } from "./terminal.ts";
import { recoveredLine } from "./views/operations.ts";

export type RecoverFirstOptions = Pick<WriteOptions, "actor" | "reason" | "wait">;

/** Whether anything was recovered on the images, of which it says what. */
export async function recoveredIn(
  pool: Pool,
  terminal: Terminal,
  images: readonly string[],
  options: RecoverFirstOptions,
): Promise<boolean> {
  const { recovered } = await pool.recover(images, recordOf(options));
  for (const one of recovered) terminal.say(recoveredLine(one));
  return recovered.length > 0;
}

/** The same with the journal, if there is one. */
export async function recoverFirst(
  terminal: Terminal,
  images: readonly string[],
  journal: string,
  options: RecoverFirstOptions,
): Promise<boolean> {
  if (!(await journalExists(journal))) return false;
  await using pool = await openPool(journal, poolOptionsOf(options));
  return await recoveredIn(pool, terminal, images, options);
}

/** Plans; when an interrupted operation hinders that and `recover` ends it, plans again. */
export async function plannedAfter<Plan>(
  recover: () => Promise<boolean>,
  plan: () => Promise<Plan>,
): Promise<Plan> {
  try {
    return await plan();
  } catch (error) {
    if (!isQcowalError(error, "NEEDS_RECOVERY") || !(await recover())) throw error;
  }
  return plan();
}
