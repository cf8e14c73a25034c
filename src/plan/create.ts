import { QcowalError } from "../errors/index.ts";
import { MAX_SNAPSHOTS } from "../format/index.ts";
import { snapshotFacts, toSnapshot } from "../image/index.ts";
import { type Draft, copiedRoot, withRoot } from "./draft.ts";
import type { CreateOperation } from "./operation.ts";
import { checkName } from "./snapshot-name.ts";
import type { Step } from "./step.ts";

const utf8 = new TextEncoder();

/** QEMU's rule: one more than the largest id, where an id counts as far as it is a decimal number. */
function nextId(draft: Draft): string {
  let largest = 0n;
  for (const { id } of draft.snapshots) {
    const digits = /^\s*\+?(\d+)/.exec(id)?.[1];
    const value = digits === undefined ? 0n : BigInt(digits);
    if (value > largest) largest = value;
  }
  return String(largest + 1n);
}

export function create(draft: Draft, operation: CreateOperation, now: number): Step {
  checkName(draft, operation.image, operation.name, operation.force);
  if (draft.snapshots.length >= MAX_SNAPSHOTS) {
    throw new QcowalError(
      "LIMIT_EXCEEDED",
      `${operation.image} has ${MAX_SNAPSHOTS} snapshots, the most that qcow2 allows. Nothing was changed.`,
    );
  }
  const id = nextId(draft);
  const snapshot = toSnapshot({
    // Where its table will be is decided when space is allocated.
    l1TableOffset: 0n,
    l1Size: draft.active.entries,
    id: utf8.encode(id),
    name: utf8.encode(operation.name),
    dateSec: Math.floor(now / 1000),
    dateNsec: (now % 1000) * 1_000_000,
    vmClockNsec: 0n,
    vmStateSize: 0n,
    diskSize: BigInt(draft.virtualSize),
    // qemu-img stores 0, not "none": scripts that compare the lists of both see no difference.
    icount: 0n,
    unknownExtra: new Uint8Array(0),
  });
  return {
    draft: { ...draft, snapshots: [...draft.snapshots, withRoot(snapshot, copiedRoot(draft.active, 0))] },
    outcome: {
      type: "create",
      snapshot: snapshotFacts(snapshot.entry),
      ...(operation.auto === true ? { auto: true } : {}),
    },
  };
}
