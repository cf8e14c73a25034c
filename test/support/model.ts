/**
 * What an operation has to do to everything a user can see, in the plainest
 * terms: the naive reader's digests before are moved about like cards.
 */
import type { Operation } from "../../src/plan/index.ts";
import { type InspectReport, inspectImage, logicalState } from "./naive-qcow2.ts";

/** When all tests of operations happen. */
const NOW = Date.UTC(2026, 0, 2, 3, 4, 5);

export type Visible = ReturnType<typeof visible>;

export const visible = (bytes: Uint8Array, ignoreFence = false) =>
  visibleIn(inspectImage(bytes, { ignoreFence }));

export function visibleIn(report: InspectReport) {
  return {
    ...(logicalState(report) as { virtualSize: number; content: string; bitmaps: string }),
    vmArea: report.active.vmAreaDigest,
    snapshots: report.snapshots.map(
      ({ id, name, diskSize, contentDigest, vmAreaDigest, unknownExtraHex }) => ({
        id,
        name,
        diskSize,
        content: contentDigest,
        vmArea: vmAreaDigest,
        unknownExtra: unknownExtraHex,
      }),
    ),
  };
}

/** The state after an operation, computed from the state before it. */
export function expected(before: Visible, operation: Operation): Visible {
  // What a repair mends is nothing that a user sees.
  if (operation.type === "repair") return before;
  const chosen = before.snapshots.find(({ id, name }) =>
    operation.type !== "create" && operation.id !== undefined ? id === operation.id : name === operation.name,
  );
  switch (operation.type) {
    case "create": {
      const ids = before.snapshots.map(({ id }) => Number.parseInt(id, 10) || 0);
      const snapshot = {
        id: String(Math.max(0, ...ids) + 1),
        name: operation.name,
        diskSize: before.virtualSize,
        content: before.content,
        vmArea: before.vmArea,
        unknownExtra: "",
      };
      return { ...before, snapshots: [...before.snapshots, snapshot] };
    }
    case "revert": {
      if (operation.keep !== undefined) {
        const { keep, ...rest } = operation;
        return expected(expected(before, { type: "create", image: operation.image, name: keep }), rest);
      }
      if (chosen === undefined) throw new Error("the model has no such snapshot");
      return {
        ...before,
        virtualSize: chosen.diskSize,
        content: chosen.content,
        vmArea: chosen.vmArea,
        ...(operation.dropBitmaps === true && { bitmaps: "" }),
      };
    }
    case "rename":
      return {
        ...before,
        snapshots: before.snapshots.map((snapshot) =>
          snapshot === chosen ? { ...snapshot, name: operation.to } : snapshot,
        ),
      };
    case "delete":
      if (operation.recoverableFor !== undefined && chosen !== undefined) {
        const until = new Date(NOW + operation.recoverableFor).toISOString().slice(0, 19);
        const to = `.deleted/${until}Z/${chosen.name}`;
        return expected(before, { type: "rename", image: operation.image, id: chosen.id, to });
      }
      return { ...before, snapshots: before.snapshots.filter((snapshot) => snapshot !== chosen) };
  }
}
