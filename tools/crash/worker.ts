/** A process of a search: explores the case of each seed it is sent. */
import { QemuSample } from "./qemu-sample.ts";
import { runCase } from "./run-case.ts";
import type { WorkerAnswer } from "./workers.ts";

const qemu = await QemuSample.open();

async function answer(seed: number): Promise<WorkerAnswer> {
  const { judged } = qemu.counts;
  try {
    const result = await runCase(seed, { sample: qemu.sample });
    return { result, qemuJudged: qemu.counts.judged - judged };
  } catch (error) {
    return { failure: error instanceof Error ? error.message : String(error) };
  }
}

process.on("message", (seed: number) => {
  void answer(seed).then((said) => process.send?.(said));
});
process.on("disconnect", () => {
  void qemu.close();
});
