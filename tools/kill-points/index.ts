/**
 * The table of kill points: `npm run kill-points`. Kills our command and
 * `qemu-img snapshot` at every write and sync of the same operations on the same
 * images, and prints for each how many of the states are clean.
 */
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Bench } from "../../test/kill/lab/bench.ts";
import { TABLE_SHAPES, type Verb, killCase } from "../../test/kill/lab/cases.ts";
import { killEverywhere } from "../../test/kill/lab/kills.ts";
import { killStates, traceQemu } from "../../test/kill/lab/qemu-writes.ts";
import { requireBuiltCommand } from "../../test/support/command.ts";
import { qemuCheck } from "../../test/support/qemu.ts";
import { ensureSystemPackages } from "../test/system-packages.ts";

const VERBS = ["create", "revert", "delete"] as const satisfies readonly Verb[];
/** What is one transaction of ours, and no command of qemu-img. */
const OWN_VERBS = ["rename", "rotate"] as const satisfies readonly Verb[];
const QEMU_FLAG = { create: "-c", revert: "-a", delete: "-d" } as const;

interface Tally {
  points: number;
  clean: number;
}

const emptyTally = (): Tally => ({ points: 0, clean: 0 });

/** Killed, then recovered, by the command itself. */
async function killOurs(verb: Verb, shape: string, tally: Tally): Promise<void> {
  const report = await killEverywhere(killCase(verb, shape), { thoroughEvery: 1_000_000 });
  for (const { killed, problem, at } of report.points) {
    if (!killed) continue;
    tally.points += 1;
    if (problem === undefined) tally.clean += 1;
    else console.error(`${verb} on ${shape}, killed at ${at}: ${problem}`);
  }
}

/** Killed; nothing of QEMU's can recover it, so the state itself is judged. */
async function killQemu(verb: (typeof VERBS)[number], shape: string, tally: Tally): Promise<void> {
  const target = killCase(verb, shape);
  const bench = await Bench.open(target);
  try {
    const [image] = bench.images;
    const [operation] = target.operations(bench.images);
    if (image === undefined || operation === undefined || operation.type === "repair" || !operation.name) {
      throw new Error("a case without an operation that qemu-img has a word for");
    }
    const copy = `${image.path}.copy`;
    await copyFile(image.path, copy);
    const before = await readFile(copy);
    const words = ["snapshot", QEMU_FLAG[verb], operation.name, copy];
    const events = await traceQemu(copy, join(bench.journal, "../trace"), "qemu-img", words);
    const states = [...killStates(before, events)].slice(0, -1);
    for (const state of states) {
      await writeFile(copy, state);
      tally.points += 1;
      if ((await qemuCheck(copy)).code === 0) tally.clean += 1;
    }
  } finally {
    await bench.close();
  }
}

function cell({ points, clean }: Tally): string {
  return `${clean} of ${points} (${((100 * clean) / points).toFixed(0)} %)`;
}

const { values } = parseArgs({
  options: { shape: { type: "string", multiple: true }, help: { type: "boolean", short: "h" } },
});
if (values.help === true) {
  console.log("npm run kill-points -- [--shape NAME]...\n\nImage shapes (default: all of these):");
  for (const shape of TABLE_SHAPES) console.log(`  ${shape}`);
  process.exit(0);
}
ensureSystemPackages();
requireBuiltCommand();
const shapes = values.shape ?? TABLE_SHAPES;
const rows: string[] = [];
for (const verb of VERBS) {
  const [ours, theirs] = [emptyTally(), emptyTally()];
  for (const shape of shapes) {
    console.error(`${verb} on ${shape} ...`);
    await killOurs(verb, shape, ours);
    await killQemu(verb, shape, theirs);
  }
  rows.push(`| ${verb} | ${cell(ours)} | ${cell(theirs)} |`);
}
for (const verb of OWN_VERBS) {
  const ours = emptyTally();
  for (const shape of shapes) {
    console.error(`${verb} on ${shape} ...`);
    await killOurs(verb, shape, ours);
  }
  rows.push(`| ${verb} | ${cell(ours)} | |`);
}
console.log(`${shapes.length} image shapes: ${shapes.join("; ")}\n`);
console.log("| operation | qcowal, after `qcowal recover` | `qemu-img snapshot` |\n| --- | --- | --- |");
console.log(rows.join("\n"));
