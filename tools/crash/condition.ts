import assert from "node:assert/strict";
import {
  type CheckReport,
  type InspectReport,
  checkImage,
  describeCheck,
  inspectImage,
} from "../../test/support/naive-qcow2.ts";

/** Everything about an image that a repair mends. */
export interface Condition {
  readonly check: CheckReport;
  /** The dirty and the corrupt bit. */
  readonly marks: number;
  /** COPIED flags in the L1 tables of snapshots. */
  readonly snapshotFlags: number;
}

export function conditionOf(
  bytes: Uint8Array,
  report: InspectReport = inspectImage(bytes, { ignoreFence: true }),
): Condition {
  return {
    check: checkImage(bytes, { ignoreFence: true }),
    marks: report.header.version === 3 ? (bytes[79] ?? 0) & 3 : 0,
    snapshotFlags: report.snapshots.reduce((sum, root) => sum + flagsOf(bytes, root), 0),
  };
}

/** COPIED flags in an L1 table; there are none behind the end of the file. */
function flagsOf(
  bytes: Uint8Array,
  { l1Offset, l1Size }: { readonly l1Offset: number; readonly l1Size: number },
): number {
  let flags = 0;
  for (let slot = 0; slot < l1Size; slot += 1) if ((bytes[l1Offset + slot * 8] ?? 0) >= 0x80) flags += 1;
  return flags;
}

/** What a repair has to mend, in words; empty for nothing. `hardens`: flags of snapshots too. */
export function damageIn({ check, marks, snapshotFlags }: Condition, hardens: boolean): string {
  return [
    ...(check.clean ? [] : [describeCheck(check)]),
    ...(marks === 0 ? [] : [`marks 0x${marks.toString(16)}`]),
    ...(hardens && snapshotFlags > 0 ? [`${snapshotFlags} COPIED flags of snapshots`] : []),
  ].join("; ");
}

/**
 * At no moment of a repair is the image in greater danger than before: no
 * refcount is too low that was not, no flag lets a guest write in place to what
 * others see. When the marks of damage are gone, so is all of that.
 */
export function assertNotWorse(before: Condition, now: Condition): void {
  const dangers = ({ check: { corruptions, overlaps, unsafe } }: Condition) => [
    ...corruptions,
    ...overlaps,
    ...unsafe,
  ];
  const known = new Set(dangers(before).map(({ offset }) => offset));
  const found = dangers(now);
  const added = found.filter(({ offset }) => !known.has(offset)).map(({ message }) => message);
  assert.deepEqual(added, [], "a repair made it worse on its way");
  const isVouchedFor = before.marks !== 0 && now.marks === 0;
  const left = isVouchedFor ? found.map(({ message }) => message) : [];
  assert.deepEqual(left, [], "no mark says any more that the image is damaged, and it is");
}
