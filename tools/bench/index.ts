/**
 * The benchmark: `npm run bench`. Makes its images, runs qcowal and qemu-img in
 * turn on fresh copies of them, and prints times, ratios and costs.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { requireBuiltCommand } from "../../test/support/command.ts";
import { leanEnvironment } from "../lean-environment.ts";
import { ensureSystemPackages } from "../test/system-packages.ts";
import { type BenchImage, IMAGES, type State, buildImage } from "./images/catalogue.ts";
import { OURS, measure } from "./measure/measure.ts";
import { type Result, median } from "./measure/result.ts";
import { timedProcess } from "./measure/timed-process.ts";
import { type BenchOperation, OPERATIONS, OPERATIONS_ON_MANY } from "./operations.ts";
import { costsTable, timesTable } from "./report/markdown.ts";
import { seconds } from "./report/format.ts";
import { chart } from "./report/svg.ts";

/** Where qemu-img is ended, the ratio is at least what it must be if ours takes seconds. */
const DEFAULT_LIMIT = 1200;

const USAGE = `npm run bench -- [--images NAME,...] [--operations WORDS]... [--runs N] [--limit SECONDS] [--dir DIR] [--out DIR]

  --images      some of: ${IMAGES.map(({ name }) => name).join(", ")} (default: all)
  --operations  those whose names begin so; may be given several times (default: all)
  --runs        of each command (default: 5; those that take long run once; in process an
                image of up to 1 GiB has 41 calls, as in a service that has warmed up)
  --limit       ends qemu-img after so long, and says "more than" (default: ${DEFAULT_LIMIT})
  --dir         where the images are made (default: the system's folder for temporary files;
                all of them need some 30 GB)
  --out         where bench.md, bench.json and bench.svg are written; what is there of other
                images and operations is kept`;

interface Options {
  readonly images: readonly BenchImage[];
  readonly words: readonly string[];
  readonly runs: number;
  readonly limit: number;
  readonly dir: string;
  readonly out: string | undefined;
}

function parseOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      images: { type: "string" },
      operations: { type: "string", multiple: true, default: [""] },
      runs: { type: "string", default: "5" },
      limit: { type: "string", default: String(DEFAULT_LIMIT) },
      dir: { type: "string", default: tmpdir() },
      out: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  const names = values.images?.split(",");
  const unknown = names?.filter((name) => !IMAGES.some((image) => image.name === name)) ?? [];
  const runs = Number(values.runs);
  const limit = Number(values.limit);
  if (values.help === true || unknown.length > 0 || !Number.isInteger(runs) || runs < 1 || !(limit > 0)) {
    console.error(USAGE);
    process.exitCode = values.help === true ? 0 : 2;
    return undefined;
  }
  return {
    images: IMAGES.filter(({ name }) => names?.includes(name) ?? true),
    words: values.operations,
    runs,
    limit,
    dir: values.dir,
    out: values.out,
  };
}

function operationsFor(image: BenchImage, words: readonly string[]): readonly BenchOperation[] {
  const all = image.snapshots === undefined ? OPERATIONS : OPERATIONS_ON_MANY;
  return all.filter(
    ({ name, state }) => !image.without.includes(state) && words.some((word) => name.startsWith(word)),
  );
}

async function measureImage(folder: string, image: BenchImage, options: Options): Promise<Result[]> {
  const results: Result[] = [];
  const operations = operationsFor(image, options.words);
  for (const state of new Set<State>(operations.map((operation) => operation.state))) {
    const source = join(folder, "source.qcow2");
    status(`${image.title}: making the image (${state})`);
    await buildImage(source, image, state);
    for (const operation of operations.filter((candidate) => candidate.state === state)) {
      const onStep = (what: string): void => status(`${image.title}: ${operation.name}, ${what}`);
      const { runs, limit } = options;
      results.push(await measure(join(folder, "work"), source, image, operation, { runs, limit, onStep }));
    }
    await rm(source);
  }
  return results.toSorted((a, b) => position(operations, a) - position(operations, b));
}

const position = (operations: readonly BenchOperation[], { operation }: Result): number =>
  operations.findIndex(({ name }) => name === operation);

function status(words: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001B[K${words}`);
}

const ORDER = [...OPERATIONS, ...OPERATIONS_ON_MANY].map(({ name }) => name);

/** What an earlier run left in the folder, without what was measured anew. */
async function withEarlier(file: string, results: readonly Result[]): Promise<Result[]> {
  const text = await readFile(file, "utf8").catch(() => "[]");
  const isNew = ({ image, operation }: Result): boolean =>
    results.some((result) => result.image === image && result.operation === operation);
  const earlier = (JSON.parse(text) as Result[]).filter((result) => !isNew(result));
  const place = ({ image, operation }: Result): number =>
    IMAGES.findIndex(({ title }) => title === image) * ORDER.length + ORDER.indexOf(operation);
  return [...earlier, ...results].toSorted((a, b) => place(a) - place(b));
}

async function writeReports(out: string, measured: readonly Result[], start: string): Promise<void> {
  await mkdir(out, { recursive: true });
  const json = join(out, "bench.json");
  const results = await withEarlier(json, measured);
  await writeFile(json, `${JSON.stringify(results, undefined, 2)}\n`);
  await writeFile(join(out, "bench.md"), `${report(results, start)}\n`);
  await writeFile(join(out, "bench.svg"), chart(results));
}

const report = (results: readonly Result[], start: string): string =>
  `${timesTable(results)}\n\n${start}\n\nCosts, ours / qemu-img's:\n\n${costsTable(results)}`;

/** What any command of ours takes before it does anything, so that short operations can be judged. */
async function starts(): Promise<string> {
  const time = async (command: readonly string[]): Promise<string> => {
    const runs: number[] = [];
    for (let run = 0; run < 11; run += 1) runs.push((await timedProcess(command)).seconds);
    return seconds(median(runs));
  };
  const [node, ours, peer] = [
    await time([process.execPath, "-e", "0"]),
    await time([...OURS, "--version"]),
    await time(["qemu-img", "--version"]),
  ];
  return `Starting alone takes: Node ${node}, qcowal ${ours}, qemu-img ${peer}.`;
}

const options = parseOptions();
if (options !== undefined) {
  leanEnvironment();
  ensureSystemPackages();
  requireBuiltCommand();
  const folder = await mkdtemp(join(options.dir, "qcowal-bench-"));
  const results: Result[] = [];
  const start = await starts();
  try {
    for (const image of options.images) {
      results.push(...(await measureImage(folder, image, options)));
      // After each image: a run that is broken off leaves what it measured.
      if (options.out !== undefined) await writeReports(options.out, results, start);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  status("");
  console.log(report(results, start));
}
