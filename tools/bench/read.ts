/**
 * The benchmark of reading: `npm run bench:read`. Exports a snapshot beside
 * qemu-img convert, and serves one beside qemu-nbd.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { requireBuiltCommand } from "../../test/support/command.ts";
import { must } from "../../test/support/programs.ts";
import { leanEnvironment } from "../lean-environment.ts";
import { ensureSystemPackages } from "../test/system-packages.ts";
import { type Exported, measureExport } from "./read/exporting.ts";
import { STORED, makeReadImages } from "./read/read-images.ts";
import { type ReadResults, readReport, withEarlier } from "./read/read-report.ts";
import { type Served, measureServing } from "./read/serving.ts";

const PARTS = ["export", "compress", "serve"] as const;

const USAGE = `npm run bench:read -- [--size GIB] [--runs N] [--seconds N] [--parts PART,...] [--stored HOW,...] [--dir DIR] [--out DIR]

  --size     of the disk, in GiB (default: 4)
  --runs     of each command (default: 5)
  --seconds  that reads at random go on in each run (default: 3)
  --parts    some of: ${PARTS.join(", ")} (default: all)
  --stored   some of: ${STORED.join(", ")} (default: all)
  --dir      where the images are made, some four times the size (default: the system's
             folder for temporary files)
  --out      where read.md and read.json are written; what is there of other parts and
             images is kept`;

const { values } = parseArgs({
  options: {
    size: { type: "string", default: "4" },
    runs: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    parts: { type: "string", default: PARTS.join(",") },
    stored: { type: "string", default: STORED.join(",") },
    dir: { type: "string", default: tmpdir() },
    out: { type: "string" },
    help: { type: "boolean", short: "h" },
  },
});

function some<Word extends string>(all: readonly Word[], text: string): readonly Word[] | undefined {
  const words = text.split(",");
  return words.every((word) => all.some((known) => known === word))
    ? all.filter((word) => words.includes(word))
    : undefined;
}

const [gibibytes, runs, perRun] = [Number(values.size), Number(values.runs), Number(values.seconds)];
const parts = some(PARTS, values.parts);
const kinds = some(STORED, values.stored);
const isSensible = [gibibytes * 4, runs, perRun].every((value) => Number.isInteger(value) && value > 0);

async function measureAll(folder: string): Promise<string> {
  const exported: Exported[] = [];
  const served: Served[] = [];
  for (const image of await makeReadImages(folder, gibibytes, kinds ?? STORED, status)) {
    if (parts?.includes("export") === true) {
      exported.push(await measureExport(folder, image, "raw", runs, status));
    }
    if (parts?.includes("compress") === true && image.stored === "uncompressed") {
      exported.push(await measureExport(folder, image, "qcow2, zlib", runs, status));
    }
    if (parts?.includes("serve") === true) {
      served.push(...(await measureServing(folder, image, { runs, seconds: perRun }, status)));
    }
  }
  status("");
  const [qemu = ""] = (await must("qemu-img", ["--version"])).split("\n");
  const [, version = "?"] = /version (\S+)/.exec(qemu) ?? [];
  const measured = {
    date: new Date().toISOString().slice(0, 10),
    machine: `${availableParallelism()} cores, with qemu ${version} and Node ${process.versions.node}`,
    exported,
    served,
  };
  if (values.out !== undefined) await writeReports(values.out, measured);
  return readReport(measured);
}

async function writeReports(out: string, measured: ReadResults): Promise<void> {
  await mkdir(out, { recursive: true });
  const json = join(out, "read.json");
  const text = await readFile(json, "utf8").catch(() => undefined);
  const earlier = text === undefined ? undefined : (JSON.parse(text) as ReadResults);
  const results = withEarlier(earlier, measured);
  await writeFile(json, `${JSON.stringify(results, undefined, 2)}\n`);
  await writeFile(join(out, "read.md"), `${readReport(results)}\n`);
}

function status(words: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001B[K${words}`);
}

if (values.help === true || !isSensible || parts === undefined || kinds === undefined) {
  console.error(USAGE);
  process.exitCode = values.help === true ? 0 : 2;
} else {
  leanEnvironment();
  ensureSystemPackages();
  requireBuiltCommand();
  const folder = await mkdtemp(join(values.dir, "qcowal-bench-"));
  try {
    console.log(await measureAll(folder));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
