import assert from "node:assert/strict";
import type { MemoryDisk } from "../../test/support/memory-disk.ts";
import { NaiveError, checkImage, describeCheck, parseHeader } from "../../test/support/naive-qcow2.ts";
import { FileBytes } from "../../test/support/naive-qcow2/file.ts";
import { parseSnapshots } from "../../test/support/naive-qcow2/snapshots.ts";
import { type Visible, visible } from "../../test/support/model.ts";
import type { RepairOutcome } from "../../src/plan/index.ts";
import { checkDisk } from "../../src/pool/check.ts";

/** Disks larger than this are not read: the plain reader would take for ever. */
const READABLE_BYTES = 32 * 2 ** 20;

/** What a user sees in an image, by the plain reader. Undefined where that cannot or should not read it. */
export function content(bytes: Uint8Array): Visible | undefined {
  try {
    const file = new FileBytes(bytes);
    const header = parseHeader(file, { ignoreFence: true });
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
  if (before === undefined) return;
  const after = content(bytes);
  assert.ok(after !== undefined, "the repaired image cannot be read");
  const dropped = [...(mended?.snapshotsDropped ?? [])];
  const isKept = ({ id, name }: { id: string; name: string }): boolean => {
    const at = dropped.findIndex((other) => other.id === id && other.name === name);
    if (at >= 0) dropped.splice(at, 1);
    return at < 0;
  };
  const expected = { ...before, snapshots: before.snapshots.filter(isKept) };
  assert.deepEqual(after, expected, "content differs after the repair");
}
