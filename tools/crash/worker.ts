/** A process of a search: explores the case of each seed it is sent. */
import { QemuSample } from "./qemu-sample.ts";
import { runCase } from "./run-case.ts";
import type { WorkerAnswer, WorkerTask } from "./workers.ts";

const [scratch] = process.argv.slice(2);
const qemu = await QemuSample.open(scratch);

async function answer({ seed, cutRecoveries }: WorkerTask): Promise<WorkerAnswer> {
  const { judged, refused } = qemu.counts;
  try {
    const result = await runCase(seed, {
      sample: qemu.sample,
      ...(cutRecoveries === undefined ? {} : { cutRecoveries }),
    });
    const { counts } = qemu;
    return { result, qemuJudged: counts.judged - judged, qemuRefused: counts.refused - refused };
  } catch (error) {
    return { failure: error instanceof Error ? error.message : String(error) };
  }
}

process.on("message", (task: WorkerTask) => {
  void answer(task).then((said) => process.send?.(said));
});
// Ctrl-C is for the search, which then lets go of us.
process.on("SIGINT", () => undefined);
process.on("disconnect", () => process.exit());
