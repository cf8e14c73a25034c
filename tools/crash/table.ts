/**
 * The table of power cuts: `npm run crash:table`. Records the system calls of our
 * command and of `qemu-img snapshot` for the same operations on the same images,
 * builds the states that a power cut could have left, and lets the same checker
 * judge them: ours after `qcowal recover`, QEMU's as they are, because nothing
 * of QEMU's recovers them.
 */
import { createRequire } from "node:module";
import { parseArgs } from "node:util";
import { must } from "../../test/support/programs.ts";
import { requireBuiltCommand } from "../../test/support/command.ts";
import { seededRandom } from "../image-maker/index.ts";
import { ensureSystemPackages } from "../test/system-packages.ts";
import { SHAPES, type ShapeName, VERBS, crashCase } from "./real/cases.ts";
import { type Kind, judgePeer } from "./real/peer.ts";
import { runCases } from "./real/run-cases.ts";

type Row = Record<Kind, number> & { states: number };

const COLUMNS = ["states", "clean", "leaked", "corrupt", "mixed"] as const;
const newRow = (): Row => ({ states: 0, clean: 0, leaked: 0, corrupt: 0, mixed: 0 });

function line(operation: string, who: string, row: Row): string {
  const cells = COLUMNS.map((column) => {
    const share = column === "states" ? "" : ` (${((100 * row[column]) / row.states).toFixed(0)} %)`;
    return row[column] === 0 && column !== "states" ? "0" : `${row[column].toLocaleString("en-US")}${share}`;
  });
  return `| ${operation} | ${who} | ${cells.join(" | ")} |`;
}

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    states: { type: "string", default: "300" },
    help: { type: "boolean", short: "h" },
  },
});
if (values.help === true) {
  console.log("npm run crash:table -- [--seed N] [--states N]   (states of each operation on each image)");
  process.exit(0);
}
const [seed, states] = [Number(values.seed), Number(values.states)];
if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(states) || states < 1) {
  throw new TypeError("--seed and --states take whole numbers");
}
if (ensureSystemPackages().length > 0) throw new Error("nothing can be compared without qemu-img and strace");
requireBuiltCommand();

const shapes = Object.keys(SHAPES) as ShapeName[];
const version = /[\d.]+/.exec(await must("qemu-img", ["--version"]))?.[0];
const { version: ownVersion } = createRequire(import.meta.url)("../../package.json") as { version: string };
console.log(`seed ${seed}`);
const rows: string[] = [];
let problems = 0;
for (const verb of VERBS) {
  const ours = newRow();
  const theirs = newRow();
  console.error(`${verb} ...`);
  const reports = await runCases(
    shapes.map((shape) => crashCase(verb, [shape])),
    seed,
    { states, thoroughEvery: 50 },
  );
  for (const report of reports) {
    for (const problem of report.problems) console.error(problem);
    problems += report.problems.length;
    ours.states += report.states;
    ours.clean += report.before + report.after;
  }
  for (const [index, shape] of shapes.entries()) {
    const report = await judgePeer(shape, verb, seededRandom(seed + index), { states });
    for (const problem of report.disagreed) console.error(`the checkers disagree: ${problem}`);
    problems += report.disagreed.length;
    for (const column of COLUMNS) theirs[column] += report[column];
  }
  rows.push(line(verb, "qcowal, after `qcowal recover`", ours), line(verb, "`qemu-img snapshot`", theirs));
}
console.log(`\n| operation | | ${COLUMNS.join(" | ")} |\n| --- | --- | --- | --- | --- | --- | --- |`);
console.log(rows.join("\n"));
console.log(
  `\n${new Date().toISOString().slice(0, 10)}, qcowal ${ownVersion}, qemu-img ${version}, seed ${seed}; images: ${shapes.join(", ")}.`,
);
process.exitCode = problems === 0 ? 0 : 1;
