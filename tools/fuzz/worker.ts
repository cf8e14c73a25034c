/** A process of the fuzzer: runs the case of each seed it is sent. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "../../test/support/programs.ts";
import { Meter, TookTooLong } from "./limits.ts";
import { realImages } from "./real-images.ts";
import { type Counts, MutantFailure, runCase } from "./run-case.ts";
import type { FromWorker, ToWorker } from "./workers.ts";

const [dir = "", failures = ""] = process.argv.slice(2);
const real = await realImages(dir);
const scratch = mkdtempSync(join(dir, "worker-"));
const meter = new Meter();
const send = (said: FromWorker): void => void process.send?.(said);

let repaired = 0;
let shown = 0;

/** Every so many repaired images qemu-img has the last word. A passphrase nobody knows. */
function sampler(oneIn: number): (bytes: Uint8Array) => Promise<void> {
  return async (bytes) => {
    repaired += 1;
    if (repaired % oneIn !== 0 || new DataView(bytes.buffer, bytes.byteOffset).getUint32(32) !== 0) return;
    const file = join(scratch, "repaired.qcow2");
    writeFileSync(file, bytes);
    const { code, stdout, stderr } = await run("qemu-img", ["check", "-f", "qcow2", file]);
    if (code !== 0)
      throw new Error(`qemu-img check of the repaired image ends with ${code}: ${stdout}${stderr}`);
    shown += 1;
  };
}

const attempt = ({ seed, qemuOneIn }: ToWorker): Promise<Counts> =>
  runCase(seed, {
    real,
    sample: sampler(qemuOneIn),
    onMutant: (mutant, bytes) => {
      writeFileSync(join(scratch, "mutant.qcow2"), bytes);
      send({ type: "mutant", seed, mutant });
      meter.begin();
    },
    onEntryPoint: () => meter.next(),
  });

/** What takes too long because of the machine does not do so twice. */
const attemptAgain = async (task: ToWorker, error: unknown): Promise<Counts> => {
  if (!(error instanceof MutantFailure && error.cause instanceof TookTooLong)) throw error;
  return attempt(task);
};

async function answer(task: ToWorker): Promise<FromWorker> {
  const { seed } = task;
  const before = shown;
  try {
    const counts = await attempt(task).catch((error: unknown) => attemptAgain(task, error));
    return { type: "done", counts, qemu: shown - before };
  } catch (error) {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    if (!(error instanceof MutantFailure)) return { type: "failed", message: `case ${seed}: ${message}` };
    const file = join(failures, `fuzz-${seed}.qcow2`);
    writeFileSync(file, error.bytes);
    return { type: "failed", message: `${error.message}\nThe image: ${file}` };
  }
}

process.on("message", (task: ToWorker) => {
  void answer(task).then(send);
});
// Ctrl-C is for the fuzzer, which then lets go of us.
process.on("SIGINT", () => undefined);
process.on("disconnect", () => process.exit());
