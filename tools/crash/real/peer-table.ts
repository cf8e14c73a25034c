/**
 * Both sides under the same power cuts, as a table: `npx tsx
 * tools/crash/real/peer-table.ts [SEED]`, after `npm run build`.
 */
import { must } from "../../../test/support/programs.ts";
import { seededRandom } from "../../image-maker/index.ts";
import { SHAPES, type ShapeName, VERBS, crashCase } from "./cases.ts";
import { KINDS, judgePeer } from "./peer.ts";
import { runCases } from "./run-cases.ts";

const [seedText = "1"] = process.argv.slice(2);
const seed = Number(seedText);
if (!Number.isSafeInteger(seed)) throw new TypeError("the seed is an integer");
const STATES = 150;

const shapes = Object.keys(SHAPES) as ShapeName[];
const version = (await must("qemu-img", ["--version"])).split("\n")[0];
console.log(
  `${new Date().toISOString().slice(0, 10)}, ${version}, seed ${seed}, up to ${STATES} states each\n`,
);
console.log(
  `| operation | image | qcowal, after \`qcowal recover\`: whole | qemu-img: ${KINDS.join(" / ")} |`,
);
console.log("| --- | --- | --- | --- |");
const cases = VERBS.flatMap((verb) => shapes.map((shape) => ({ verb, shape })));
const ours = await runCases(
  cases.map(({ verb, shape }) => crashCase(verb, [shape])),
  seed,
  { states: STATES, thoroughEvery: 50 },
);
for (const [index, { verb, shape }] of cases.entries()) {
  const theirs = await judgePeer(shape, verb, seededRandom(seed + index), { states: STATES });
  const own = ours[index];
  for (const problem of own?.problems ?? []) console.error(problem);
  for (const problem of theirs.disagreed) console.error(`the checkers disagree: ${problem}`);
  const whole = `${(own?.before ?? 0) + (own?.after ?? 0)} of ${own?.states ?? 0}`;
  const counts = KINDS.map((kind) => theirs[kind]).join(" / ");
  console.log(`| ${verb} | ${shape} | ${whole} | ${counts} of ${theirs.states} |`);
}
