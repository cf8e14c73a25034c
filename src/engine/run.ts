/**
 * The life of a transaction:
 *
 *   lock, recover, plan     every refusal happens here
 *   prepare                 journal: operations and all intents; sync
 *   fence                   no other tool opens the images from here; sync
 *   reserve                 new clusters filled, nothing refers to them; sync
 *   commit                  journal: the one decision for all images; sync
 *   raise, switch, lower    each followed by a sync
 *   discard, unfence        sync
 *   settle                  journal
 *
 * If power fails before `commit` is durable, recovery gives the reserved space
 * back; after it, recovery applies every phase again. In each phase the image is
 * the old state plus leaks or the new state plus leaks, so that even with the
 * journal lost a scan can mend it.
 */
import type { Disk } from "../disk/index.ts";
import { currentActor } from "./actor.ts";
import { type Beginning, begin, recordRefusal } from "./begin.ts";
import { type EngineContext, closeAll, openAll } from "./context.ts";
import type { FirstPlan } from "./first-plan.ts";
import type { InternalRunOptions } from "./options.ts";
import { type OperationsByImage, reportOf } from "./planned-images.ts";
import { Progress } from "./progress.ts";
import { recoverImages } from "./recover.ts";
import type { RunReport } from "./reports.ts";

/**
 * Runs the operations as one transaction, all or nothing. Pending transactions on
 * the images are recovered first. `first` is what was planned before the journal
 * was there: it is carried out as it is while that is empty, and else let go of.
 */
export async function runTransaction(
  context: EngineContext,
  groups: OperationsByImage,
  options: InternalRunOptions,
  first?: FirstPlan,
): Promise<RunReport> {
  const { environment, journal } = context;
  const started = first?.started ?? environment.now();
  const paths = [...groups.keys()];
  const actor = currentActor(environment.program, options.actor);
  const progress = new Progress(options, paths);
  const beginning: Beginning = { actor, progress, started, options };
  // Where something is recorded, it may be of these images, or hold their snapshots: then it is planned anew.
  if (!journal.isFresh) await first?.close();
  progress.step("recover");
  const recovered = await recoverImages(context, paths, { actor }, (transaction) =>
    progress.step("recover", transaction),
  );
  const locked = journal.isFresh ? await first?.forWriting() : undefined;
  const open = (): Promise<readonly Disk[]> =>
    openAll(environment, paths, "write").catch(async (error: unknown) => {
      await recordRefusal(context, groups, beginning, error);
      throw error;
    });
  const disks = locked ?? (await open());
  const planned = locked === undefined ? undefined : first?.planned;
  try {
    const transaction = await begin(context, disks, groups, beginning, planned);
    await transaction.run();
    return {
      transaction: transaction.number,
      journal: journal.dir,
      images: transaction.planned.map(reportOf),
      recovered,
      durationMs: environment.now() - started,
    };
  } finally {
    await closeAll(disks);
  }
}
