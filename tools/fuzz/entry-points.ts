/** All ways in which an image from anywhere meets this code. */
import { QcowalError } from "../../src/errors/index.ts";
import {
  type DryRunReport,
  type Environment,
  dryRun,
  fencedError,
  groupByImage,
} from "../../src/engine/index.ts";
import { fenceOwner, unfencePatches } from "../../src/format/index.ts";
import { readHead } from "../../src/image/index.ts";
import type { Operation } from "../../src/plan/index.ts";
import { checkDisk } from "../../src/pool/check.ts";
import { snapshotsOn } from "../../src/pool/list-snapshots.ts";
import { toJson } from "../../src/cli/json.ts";
import { findingLine, qemuSummary, usageTable } from "../../src/cli/views/check.ts";
import { planText } from "../../src/cli/views/operations.ts";
import { qemuJson, qemuList } from "../../src/cli/views/qemu-snapshots.ts";
import { snapshotTable } from "../../src/cli/views/snapshots.ts";
import { NOW } from "../../test/support/apply-plan.ts";
import { MemoryDisk } from "../../test/support/memory-disk.ts";
import { PATH } from "./corpus.ts";
import { assertClear, flawOf } from "./refusal.ts";

/** Runs `action`, which may refuse. Undefined when it did; throws when it failed in any other way. */
export async function refusable<Result>(
  what: string,
  action: () => Promise<Result>,
  onRefusal: (code: string) => void = () => undefined,
): Promise<Result | undefined> {
  try {
    return await action();
  } catch (error) {
    const flaw = flawOf(error, PATH);
    if (flaw !== undefined) throw new Error(`${what}: ${flaw}`, { cause: error });
    onRefusal(error instanceof QcowalError ? error.code : "");
    return undefined;
  }
}

const inJson = (value: unknown): string =>
  JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? String(part) : part));

const inLines = (lines: Iterable<string>): string => [...lines].join("\n");

async function list(disk: MemoryDisk): Promise<void> {
  const snapshots = await snapshotsOn(disk);
  // Names are anybody's: what is judged are the numbers beside them.
  const nameless = snapshots.map((snapshot) => ({ ...snapshot, id: "1", name: "n" }));
  assertClear(inLines(snapshotTable(nameless)));
  assertClear(inLines(qemuList(nameless)));
  assertClear(toJson(qemuJson(nameless)));
  inLines(snapshotTable(snapshots));
  inLines(qemuList(snapshots));
}

async function check(disk: MemoryDisk): Promise<void> {
  const report = await checkDisk(disk, { usage: true });
  assertClear(qemuSummary(report));
  if (report.usage !== undefined) inLines(usageTable(report.usage));
  for (const finding of report.findings) assertClear(findingLine({ ...finding, owners: [] }));
  for (const count of [report.corruptions, report.leaks, report.checkErrors, report.imageEndOffset]) {
    if (!Number.isSafeInteger(count) || count < 0) throw new Error(`a check counted ${count}`);
  }
}

async function fence(disk: MemoryDisk): Promise<void> {
  const head = await readHead(disk);
  fenceOwner(head.area);
  const { explanation, mark } = unfencePatches(head.header, head.area, head.cluster);
  for (const { offset, before, after } of [...explanation, mark]) {
    if (before.length !== after.length || offset + after.length > head.cluster.length) {
      throw new Error(`a patch of ${after.length} bytes at ${offset} leaves the first cluster`);
    }
  }
  if (head.header.fenced) throw await fencedError(disk.path, head);
}

function environmentOf(disk: MemoryDisk): Environment {
  return {
    openDisk: () => Promise.resolve(disk.reopen()),
    resolvePath: (path) => Promise.resolve(path),
    fileId: () => Promise.resolve({ device: 1, inode: 1 }),
    now: () => NOW,
    program: "fuzz",
  };
}

/** Plans an operation as the command does with --dry-run. */
export async function planned(disk: MemoryDisk, operation: Operation): Promise<DryRunReport | undefined> {
  const environment = environmentOf(disk);
  const report = await refusable(`plan of ${inJson(operation)}`, async () =>
    dryRun(environment, await groupByImage(environment, [operation]), {}),
  );
  if (report === undefined) return undefined;
  for (const { outcomes, summary, fileSize } of report.images) {
    assertClear(inJson([outcomes, summary, fileSize]).replaceAll(/"(name|id)":"[^"]*"/g, ""));
  }
  planText(report);
  return report;
}

/** Reads only. */
export async function readEverything(disk: MemoryDisk, onEntryPoint: () => void): Promise<void> {
  await refusable("list", () => list(disk));
  onEntryPoint();
  await refusable("check", () => check(disk));
  onEntryPoint();
  await refusable("fence", () => fence(disk));
  onEntryPoint();
}
