/**
 * The fuzzer: `npm run fuzz`. Damages small images in every way it knows and
 * hands each to every entry point, until it is stopped. It goes on after a
 * failure, because the next one may be another.
 */
import { availableParallelism } from "node:os";
import { mkdir, readFile } from "node:fs/promises";
import { mix32, seededRandom } from "../image-maker/index.ts";
import { type Given, runTool, wholeNumber } from "../command-line.ts";
import { ensureSystemPackages } from "../test/system-packages.ts";
import { caseSeed } from "../crash/cases.ts";
import { MUTANTS_PER_CASE, tryMutant } from "./run-case.ts";
import { NONE, adding, inWords } from "./totals.ts";
import { Workers } from "./workers.ts";

const HELP = `npm run fuzz -- [options]

  --seed N        decides every image (default: a new one, printed)
  --images N      stop after so many images (default: never)
  --case SEED     replay one case, as a failure names it
  --file IMAGE    hand this file to every entry point
  --failures DIR  where images that fail are left (default: the directory for temporary files)
  --workers N     processes (default: one for each core)`;

/** Of the images that a repair left, one in so many is shown to qemu-img. */
const QEMU_ONE_IN = 10;
/** A terminal gets a line that is replaced, a log one now and then. */
const SHOW_EVERY_MS = process.stderr.isTTY ? 500 : 60_000;

function* seedsOf(seed: number, images: number): Generator<number> {
  for (let index = 0; index * MUTANTS_PER_CASE < images; index += 1) yield caseSeed(seed, index);
}

async function fuzz(seeds: Iterator<number>, workers: Workers): Promise<number> {
  let totals = NONE;
  let failures = 0;
  let shown = performance.now();
  const clear = process.stderr.isTTY ? "\r\u001B[2K" : "";
  for await (const answer of workers.run(seeds, QEMU_ONE_IN)) {
    if (answer.type === "failed") {
      failures += 1;
      process.stderr.write(clear);
      console.error(`${answer.message}\n`);
    } else totals = adding(totals, answer.counts, answer.qemu);
    if (performance.now() - shown < SHOW_EVERY_MS) continue;
    shown = performance.now();
    process.stderr.write(`${clear}${inWords(totals)}, ${failures} failures${clear === "" ? "\n" : ""}`);
  }
  process.stderr.write(clear);
  console.log(`${inWords(totals)}, ${failures} failures`);
  return failures;
}

const OPTIONS = ["seed", "images", "case", "file", "failures", "workers"] as const;

async function main(values: Given<(typeof OPTIONS)[number]>): Promise<void> {
  if (values.file !== undefined) {
    const bytes = new Uint8Array(await readFile(values.file));
    const { end, isInPart } = await tryMutant({ bytes, journal: undefined }, seededRandom(0));
    console.log(`${end}${isInPart ? ", and in part where no snapshot is given up" : ""}`);
    return;
  }
  if (ensureSystemPackages().length > 0) throw new Error("the fuzzer does not judge without qemu");
  const single = values.case === undefined ? undefined : wholeNumber(values.case, "case", 0);
  const count = wholeNumber(values.workers, "workers", availableParallelism());
  if (values.failures !== undefined) await mkdir(values.failures, { recursive: true });
  const workers = await Workers.open(single === undefined ? Math.max(1, count) : 1, values.failures);
  try {
    const seed = wholeNumber(values.seed, "seed", mix32(Date.now()));
    const images = wholeNumber(values.images, "images", Infinity);
    if (single === undefined) console.log(`seed ${seed}`);
    const seeds = single === undefined ? seedsOf(seed, images) : [single].values();
    if ((await fuzz(seeds, workers)) > 0) process.exitCode = 1;
  } finally {
    workers.close();
  }
}

await runTool(HELP, OPTIONS, main);
