/**
 * `qcowal check` beside the real `qemu-img check` on thousands of damaged images:
 * the same exit code, and the same counts. More with QCOWAL_CHECK_IMAGES=50000.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { checkExitOf, checkExitOfError } from "../../src/cli/check-exit.ts";
import { type CheckReport, checkImage, isQcowalError } from "../../src/index.ts";
import { makeImage, randomSpec } from "../../tools/image-maker/index.ts";
import { run } from "../support/programs.ts";
import { requireQemu, tempDir } from "../support/qemu.ts";
import { seededRandom } from "../support/random.ts";
import { DIFFERENCES, type Verdicts } from "./differences.ts";
import { mutate } from "./mutate.ts";

const IMAGES = Number(process.env["QCOWAL_CHECK_IMAGES"] ?? 5000);
const MUTANTS_PER_IMAGE = 10;
const SHARDS = 10;
const LANES = 2;

beforeAll(requireQemu);

/** Numbers that `qemu-img check --output=json` leaves out when they are zero. */
function countsOf(report: CheckReport): Readonly<Record<string, number>> {
  return {
    "check-errors": report.checkErrors,
    // The one thing that we count and QEMU cannot see: it does not ask whose a cluster is.
    corruptions: report.corruptions - report.overlaps,
    leaks: report.leaks,
    "image-end-offset": report.imageEndOffset,
    "total-clusters": report.totalClusters,
    "allocated-clusters": report.allocatedClusters,
    "fragmented-clusters": report.fragmentedClusters,
    "compressed-clusters": report.compressedClusters,
  };
}

interface Verdict extends Verdicts {
  readonly code: number;
  readonly ours: Readonly<Record<string, number>>;
  readonly theirs: Readonly<Record<string, number>>;
}

async function verdictOn(path: string, bytes: Uint8Array): Promise<Verdict> {
  await writeFile(path, bytes);
  const running = run("qemu-img", ["check", "--output=json", path]);
  let report: CheckReport | undefined;
  let refusal = "";
  let code: number;
  try {
    report = await checkImage(path, { forceShare: true });
    code = checkExitOf({ ...report, corruptions: report.corruptions - report.overlaps, interrupted: false });
  } catch (error) {
    if (!isQcowalError(error)) throw error;
    refusal = error.message;
    code = checkExitOfError(error);
  }
  const { code: qemuCode, stdout, stderr } = await running;
  const ours = report === undefined ? {} : countsOf(report);
  const json = stdout.startsWith("{") ? (JSON.parse(stdout) as Record<string, number>) : undefined;
  // Without JSON QEMU gave up on the way: there is nothing to compare but the exit code.
  const theirs = json && Object.fromEntries(Object.keys(ours).map((key) => [key, json[key] ?? 0]));
  return {
    bytes,
    qemu: { code: qemuCode ?? -1, stderr },
    report,
    refusal,
    code,
    ours,
    theirs: theirs ?? ours,
  };
}

function isSame({ code, qemu, ours, theirs }: Verdict): boolean {
  if (code !== qemu.code) return false;
  // QEMU stops at an error that leaves it without snapshots, or goes on with other ones than we do.
  return code === 1 || Object.keys(ours).every((key) => ours[key] === theirs[key]);
}

function describeDifference(verdict: Verdict, seed: number, mutant: number): string {
  const { code, qemu, ours, theirs, refusal, report } = verdict;
  const counts = Object.keys(ours).filter((key) => ours[key] !== theirs[key]);
  return [
    `seed ${seed}, mutant ${mutant}: qemu-img ends with ${qemu.code}, we with ${code} ${refusal}`,
    ...counts.map((key) => `  ${key}: ${theirs[key]}, ours ${ours[key]}`),
    ...qemu.stderr.split("\n").slice(0, 10),
    ...(report?.findings ?? []).slice(0, 10).map(({ kind, where, what }) => `  ${kind} ${where}: ${what}`),
  ].join("\n");
}

const seen = new Map<string, number>();

describe(`on ${IMAGES} damaged images`, () => {
  test.for(Array.from({ length: SHARDS }, (_, shard) => shard))(
    "the verdict is that of qemu-img check, part %i",
    { timeout: 600_000 },
    async (shard) => {
      const dir = await tempDir();
      const unexplained: string[] = [];
      const codes = new Map<number, number>();
      const lane = async (index: number): Promise<void> => {
        const path = join(dir, `${index}.qcow2`);
        for (let seed = shard * LANES + index; seed * MUTANTS_PER_IMAGE < IMAGES; seed += SHARDS * LANES) {
          const random = seededRandom(seed);
          const bytes = makeImage(randomSpec(random, { maxClusterBits: 14 }));
          for (let mutant = 0; mutant < MUTANTS_PER_IMAGE; mutant += 1) {
            const verdict = await verdictOn(path, mutate(bytes, random));
            codes.set(verdict.qemu.code, (codes.get(verdict.qemu.code) ?? 0) + 1);
            if (isSame(verdict)) continue;
            const row = DIFFERENCES.find(({ explains }) => explains(verdict));
            if (row === undefined) unexplained.push(describeDifference(verdict, seed, mutant));
            else seen.set(row.name, (seen.get(row.name) ?? 0) + 1);
          }
        }
      };
      await Promise.all(Array.from({ length: LANES }, (_, index) => lane(index)));
      expect(unexplained.slice(0, 5).join("\n\n")).toBe("");
      // Damage that is always seen, or never, would compare nothing.
      for (const code of [0, 1, 2, 3]) expect(codes.get(code) ?? 0, `exit code ${code}`).toBeGreaterThan(5);
    },
  );

  test.runIf(IMAGES >= 5000)("no row of the table is there in vain", () => {
    for (const { name } of DIFFERENCES) expect(seen.get(name) ?? 0, name).toBeGreaterThan(0);
  });
});
