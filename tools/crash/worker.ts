/** A process of a search: explores the case of each seed it is sent. */
import { QemuSample } from "./qemu-sample.ts";
import { runCase } from "./run-case.ts";
import type { WorkerAnswer, WorkerTask } from "./workers.ts";

const qemu = await QemuSample.open();

async function answer({ seed, cutRecoveries }: WorkerTask): Promise<WorkerAnswer> {
  const { judged } = qemu.counts;
  try {
    const result = await runCase(seed, {
      sample: qemu.sample,
      ...(cutRecoveries === undefined ? {} : { cutRecoveries }),
    });
    return { result, qemuJudged: qemu.counts.judged - judged };
  } catch (error) {
    return { failure: error instanceof Error ? error.message : String(error) };
  }
}

process.on("message", (task: WorkerTask) => {
  void answer(task).then((said) => process.send?.(said));
});
// Ctrl-C is for the search, which then lets go of us: what lies in memory has to be tidied away first.
process.on("SIGINT", () => undefined);
process.on("disconnect", () => {
  void qemu.close().finally(() => process.exit());
});
