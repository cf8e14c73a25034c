import type { HistoryEntry, Observation, SnapshotFacts } from "../../src/index.ts";

export const IMAGE = "/vms/a.qcow2";
const ACTOR = { user: "me", host: "here", pid: 1, program: "test" };

export const facts = (id: number, name: string, dateSec = id): SnapshotFacts => ({
  id: String(id),
  name,
  dateSec,
  dateNsec: 0,
});

export interface Wanted extends Partial<Omit<HistoryEntry, "images">> {
  readonly image?: string;
  readonly outcome?: HistoryEntry["images"][number]["outcomes"][number];
  readonly observed?: Partial<Observation>;
}

/** An entry about one image, done, at a time that is its number in minutes. */
export function entry(
  transaction: number,
  { image = IMAGE, outcome, observed, ...rest }: Wanted,
): HistoryEntry {
  const time = transaction * 60_000;
  return {
    transaction,
    status: "done",
    began: time,
    ended: time + 1000,
    operations: [],
    actor: ACTOR,
    images: [
      {
        image,
        outcomes: outcome === undefined ? [] : [outcome],
        clustersAllocated: 0,
        clustersFreed: 0,
        bytesFreed: 0,
        refcountsChanged: 0,
        copiedFlagsChanged: 0,
        ...(observed === undefined
          ? {}
          : { observed: { what: "changed", snapshots: [], digest: "", ...observed } }),
      },
    ],
    ...rest,
  };
}

export const created = (transaction: number, snapshot: SnapshotFacts, more: Wanted = {}): HistoryEntry =>
  entry(transaction, { outcome: { type: "create", snapshot }, ...more });
export const reverted = (transaction: number, snapshot: SnapshotFacts): HistoryEntry =>
  entry(transaction, { outcome: { type: "revert", snapshot } });
export const deleted = (transaction: number, snapshot: SnapshotFacts): HistoryEntry =>
  entry(transaction, { outcome: { type: "delete", snapshot } });
export const renamed = (transaction: number, snapshot: SnapshotFacts, to: string): HistoryEntry =>
  entry(transaction, { outcome: { type: "rename", snapshot, to } });
export const seen = (
  transaction: number,
  what: Observation["what"],
  snapshots: readonly SnapshotFacts[],
  more: Partial<Observation> = {},
): HistoryEntry => entry(transaction, { status: "observed", observed: { what, snapshots, ...more } });
