/**
 * The benchmark: `npm run bench`. Makes its images, runs qcowal and qemu-img in
 * turn on fresh copies of them, and prints times, ratios and costs.
 */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { requireBuiltCommand } from "../../test/support/command.ts";
import { ensureSystemPackages } from "../test/system-packages.ts";
import { type BenchImage, IMAGES, type State, buildImage } from "./images/catalogue.ts";
import { measure } from "./measure/measure.ts";
import type { Result } from "./measure/result.ts";
import { type BenchOperation, OPERATIONS, OPERATIONS_ON_MANY } from "./operations.ts";
import { costsTable, timesTable } from "./report/markdown.ts";
import { chart } from "./report/svg.ts";

const USAGE = `npm run bench -- [--images NAME,...] [--operations WORD,...] [--runs N] [--dir DIR] [--out DIR]

  --images      some of: ${IMAGES.map(({ name }) => name).join(", ")} (default: all)
  --operations  those whose names begin with one of the words (default: all)
  --runs        of each command (default: 5; those that take long run once; in process an
                image of up to 1 GiB has 41 calls, as in a service that has warmed up)
  --dir         where the images are made (default: the system's folder for temporary files;
                all of them need some 30 GB)
  --out         where bench.md, bench.json and bench.svg are written`;

interface Options {
  readonly images: readonly BenchImage[];
  readonly words: readonly string[];
  readonly runs: number;
  readonly dir: string;
  readonly out: string | undefined;
}

function parseOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      images: { type: "string" },
      operations: { type: "string" },
      runs: { type: "string", default: "5" },
      dir: { type: "string", default: tmpdir() },
      out: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  const names = values.images?.split(",");
  const unknown = names?.filter((name) => !IMAGES.some((image) => image.name === name)) ?? [];
  const runs = Number(values.runs);
  if (values.help === true || unknown.length > 0 || !Number.isInteger(runs) || runs < 1) {
    console.error(USAGE);
    process.exitCode = values.help === true ? 0 : 2;
    return undefined;
  }
  return {
    images: IMAGES.filter(({ name }) => names?.includes(name) ?? true),
    words: values.operations?.split(",") ?? [""],
    runs,
    dir: values.dir,
    out: values.out,
  };
}

function operationsFor(image: BenchImage, words: readonly string[]): readonly BenchOperation[] {
  const all = image.snapshots === undefined ? OPERATIONS : OPERATIONS_ON_MANY;
  return all.filter(
    ({ name, state }) => state !== image.without && words.some((word) => name.startsWith(word)),
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
      results.push(
        await measure(join(folder, "work"), source, image, operation, { runs: options.runs, onStep }),
      );
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

async function writeReports(out: string, results: readonly Result[]): Promise<void> {
  await mkdir(out, { recursive: true });
  await writeFile(join(out, "bench.json"), `${JSON.stringify(results, undefined, 2)}\n`);
  await writeFile(join(out, "bench.md"), `${timesTable(results)}\n\n${costsTable(results)}\n`);
  await writeFile(join(out, "bench.svg"), chart(results));
}

const options = parseOptions();
if (options !== undefined) {
  ensureSystemPackages();
  requireBuiltCommand();
  const folder = await mkdtemp(join(options.dir, "qcowal-bench-"));
  const results: Result[] = [];
  try {
    for (const image of options.images) {
      results.push(...(await measureImage(folder, image, options)));
      // After each image: a run that is broken off leaves what it measured.
      if (options.out !== undefined) await writeReports(options.out, results);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  status("");
  console.log(`${timesTable(results)}\n\nCosts, ours / qemu-img's:\n\n${costsTable(results)}`);
}
