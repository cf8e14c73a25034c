import assert from "node:assert/strict";
import { MemoryDisk } from "../../test/support/memory-disk.ts";
import { NaiveError, checkImage, describeCheck, parseHeader } from "../../test/support/naive-qcow2.ts";
import { FileBytes } from "../../test/support/naive-qcow2/file.ts";
import { parseSnapshots } from "../../test/support/naive-qcow2/snapshots.ts";
import { type Visible, visible } from "../../test/support/model.ts";
import type { RepairOutcome } from "../../src/plan/index.ts";
import { snapshotLabel } from "../../src/image/index.ts";
import { type CheckReport, checkDisk } from "../../src/pool/check.ts";

/** Disks larger than this are not read: the plain reader would take for ever. */
const READABLE_BYTES = 32 * 2 ** 20;

/** What a user sees in an image, by the plain reader. Undefined where that cannot or should not read it. */
export function content(bytes: Uint8Array): Visible | undefined {
  try {
    const file = new FileBytes(bytes);
    const header = parseHeader(file, { ignoreFence: true });
    // QEMU opens no image with such a table, and a repair looks for it elsewhere.
    if (header.snapshotsOffset % header.clusterSize !== 0) return undefined;
    const span = header.clusterSize * header.l2Entries;
    const { snapshots } = parseSnapshots(file, header);
    const sizes = [header, ...snapshots].flatMap((root) => [
      root.l1Size * span,
      "diskSize" in root ? root.diskSize : root.virtualSize,
      "vmStateSize" in root ? root.vmStateSize : 0,
    ]);
    if (sizes.some((size) => size > READABLE_BYTES)) return undefined;
    return visible(bytes, true);
  } catch (error) {
    // An image that it cannot read has no content that could be compared.
    if (error instanceof NaiveError) return undefined;
    throw error;
  }
}

/** Every write lies in the file, as long as the plan makes it. */
export function assertInside(disk: MemoryDisk, end: number, clusterSize: number): void {
  const limit = Math.ceil(end / clusterSize) * clusterSize;
  for (const event of disk.log) {
    if (event.type === "sync") continue;
    const last = event.type === "truncate" ? event.size : event.offset + event.length;
    assert.ok(last <= limit, `a ${event.type} up to ${last} in a file of ${end} bytes`);
  }
}

/** What a repair left is clean, and shows what was there before, except for snapshots that were given up. */
export async function judgeRepaired(
  before: Visible | undefined,
  bytes: Uint8Array,
  disk: MemoryDisk,
  mended: RepairOutcome["mended"] | undefined,
): Promise<void> {
  const { corruptions, leaks, checkErrors, findings } = await checkDisk(disk);
  assert.deepEqual(
    { corruptions, leaks, checkErrors },
    { corruptions: 0, leaks: 0, checkErrors: 0 },
    `after the repair: ${findings
      .slice(0, 5)
      .map(({ where, what }) => `${where}: ${what}`)
      .join("; ")}`,
  );
  const naive = checkImage(bytes);
  // Two guest ranges may show the same: QEMU counts both paths to their L2 table.
  const overlaps = naive.overlaps.filter(({ message }) => !/^L2 table .* overlaps L2 table/.test(message));
  assert.equal(describeCheck({ ...naive, overlaps }), "clean");
  assertContent(before, bytes, mended);
}

/** What a repair left that does not mend all is no worse than before, and shows the same. */
export async function judgeMendedInPart(
  before: Uint8Array,
  after: Uint8Array,
  mended: RepairOutcome["mended"] | undefined,
): Promise<void> {
  const [old, now] = await Promise.all([before, after].map((bytes) => checkDisk(new MemoryDisk(bytes))));
  // A check keeps a thousand findings; where there are more, only their number says anything.
  const isWhole = old?.findingsLeftOut === 0 && now?.findingsLeftOut === 0;
  const [worst, worse] = [old, now].map((report) => (isWhole ? dangers(report) : (report?.corruptions ?? 0)));
  assert.ok((worse ?? 0) <= (worst ?? 0), `a repair in part made ${worst} dangerous corruptions ${worse}`);
  // What a table that makes no sense shows is chance, and may change with any byte of the file.
  const suspects = new Set(old?.findings.flatMap(({ owners }) => owners));
  const isSound = (snapshot: { readonly id: string; readonly name: string }): boolean =>
    old?.findingsLeftOut === 0 && !suspects.has(snapshotLabel(snapshot));
  assertContent(content(before), after, mended, isSound);
}

/** A COPIED flag that is clear costs a copy on write; all other corruptions may cost data. */
const dangers = (report: CheckReport | undefined): number =>
  report?.findings.filter(({ kind, what }) => kind === "corruption" && !/COPIED flag .*is clear/.test(what))
    .length ?? 0;

/** The image shows what it showed, but for snapshots that were given up. Only those that are sound are compared. */
function assertContent(
  before: Visible | undefined,
  bytes: Uint8Array,
  mended: RepairOutcome["mended"] | undefined,
  isSound: (snapshot: { readonly id: string; readonly name: string }) => boolean = () => true,
): void {
  if (before === undefined) return;
  const after = content(bytes);
  assert.ok(after !== undefined, "the repaired image cannot be read");
  const dropped = [...(mended?.snapshotsDropped ?? [])];
  const isKept = ({ id, name }: { id: string; name: string }): boolean => {
    const at = dropped.findIndex((other) => other.id === id && other.name === name);
    if (at >= 0) dropped.splice(at, 1);
    return at < 0;
  };
  const read = before.snapshots.slice(0, before.snapshots.length - (mended?.snapshotEntriesLost ?? 0));
  // What a pointer to the wrong place showed was never there. A table that begins with a snapshot is at the right one.
  const wasThere = mended?.snapshotTable === false || /^[1-9]\d*$/.test(before.snapshots[0]?.id ?? "1");
  const expected = { ...before, snapshots: wasThere ? read.filter(isKept).filter(isSound) : [] };
  const shown = { ...after, snapshots: wasThere ? after.snapshots.filter(isSound) : [] };
  assert.deepEqual(shown, expected, "content differs after the repair");
}
