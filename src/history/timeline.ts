import type { Journal, JournalRecord } from "../../journal/index.ts";
import {
  type Actor,
  type BegunBody,
  type EndBody,
  type PreparedImage,
  decodeBegun,
  decodePrepared,
  decodeRepaired,
} from "../engine/index.ts";
import type { Operation, OperationOutcome } from "../plan/index.ts";

/** How a transaction stands or ended. */
export type HistoryStatus =
  | "done"
  /** Nothing changed: it failed or was called off before the decision. */
  | "aborted"
  | "finished by recovery"
  | "aborted by recovery"
  /** Ended by recovery, but an image contradicts that: `doubt` says how. */
  | "unconfirmed"
  /** Not a transaction: an image was repaired without its journal. */
  | "repaired by a scan"
  /** Interrupted, recovery has not looked at it yet (or it is running now). */
  | "pending";

export interface HistoryImage {
  readonly image: string;
  readonly outcomes: readonly OperationOutcome[];
  readonly clustersAllocated: number;
  readonly clustersFreed: number;
  readonly bytesFreed: number;
}

/** One transaction in the record, or one repair by a scan. Times are milliseconds since 1970. */
export interface HistoryEntry {
  /** Number in the journal. */
  readonly transaction: number;
  readonly status: HistoryStatus;
  readonly began: number;
  readonly ended?: number;
  /** Empty for a repair. */
  readonly operations: readonly Operation[];
  readonly images: readonly HistoryImage[];
  readonly actor: Actor;
  readonly reason?: string;
  /** Why it was aborted. */
  readonly why?: string;
  /** Who recovered it. */
  readonly recoveredBy?: Actor;
  /** Why they did, in their words. */
  readonly recoveryReason?: string;
  /** What contradicts the recorded end. */
  readonly doubt?: string;
  /** What a repair by a scan found. */
  readonly repair?: HistoryRepair;
}

export interface HistoryRepair {
  /** The transaction that had fenced the image, and its journal, where the header said so. */
  readonly interrupted?: { readonly journal: string; readonly transaction: number };
  readonly clustersFreed: number;
  readonly refcountsLowered: number;
  readonly refcountsRaised: number;
  readonly copiedFlagsChanged: number;
}

interface Draft {
  readonly record: JournalRecord;
  readonly begun: BegunBody;
  prepared?: readonly PreparedImage[];
  end?: { readonly record: JournalRecord; readonly body: EndBody };
}

/**
 * Folds the journal into a list of transactions in the order in which they
 * began, those of one image if `image` (a resolved path) is given.
 * @throws QcowalError JOURNAL_DAMAGED naming the first record that does not verify
 */
export async function timeline(journal: Journal, image?: string): Promise<HistoryEntry[]> {
  const drafts = new Map<number, Draft>();
  const repairs: HistoryEntry[] = [];
  for await (const record of journal.records()) {
    fold(drafts, record);
    if (record.kind === "note") repairs.push(...repairOf(record));
  }
  const entries = [...[...drafts.values()].map(entryOf), ...repairs];
  return entries
    .toSorted((a, b) => a.transaction - b.transaction)
    .filter((entry) => image === undefined || touches(entry, image));
}

const touches = (entry: HistoryEntry, image: string): boolean =>
  entry.images.some((candidate) => candidate.image === image);

function fold(drafts: Map<number, Draft>, record: JournalRecord): void {
  const draft = drafts.get(record.transaction);
  switch (record.kind) {
    case "begun":
      drafts.set(record.transaction, { record, begun: decodeBegun(record.body) });
      return;
    case "prepared":
      if (draft !== undefined) draft.prepared = decodePrepared(record.body).images;
      return;
    case "settled":
    case "aborted":
      if (draft !== undefined) draft.end = { record, body: record.body as EndBody };
      return;
    case "genesis":
    case "part":
    case "committed":
    case "note":
    case "compacted":
  }
}

function statusOf(end: Draft["end"]): HistoryStatus {
  if (end === undefined) return "pending";
  if (end.body.doubt !== undefined) return "unconfirmed";
  if (end.record.kind === "settled") return end.body.recovered ? "finished by recovery" : "done";
  return end.body.recovered ? "aborted by recovery" : "aborted";
}

function entryOf({ record, begun, prepared, end }: Draft): HistoryEntry {
  return {
    transaction: record.transaction,
    status: statusOf(end),
    began: record.time,
    ...(end === undefined ? {} : { ended: end.record.time }),
    operations: begun.operations,
    images: begun.images.map(({ path }, index) => imageOf(path, prepared?.[index])),
    actor: begun.actor,
    ...(begun.reason === undefined ? {} : { reason: begun.reason }),
    ...(end?.body.why === undefined ? {} : { why: end.body.why }),
    ...(end?.body.recovered === true ? { recoveredBy: end.body.actor } : {}),
    ...(end?.body.reason === undefined ? {} : { recoveryReason: end.body.reason }),
    ...(end?.body.doubt === undefined ? {} : { doubt: end.body.doubt }),
  };
}

function repairOf(record: JournalRecord): HistoryEntry[] {
  const repaired = decodeRepaired(record.body);
  if (repaired === undefined) return [];
  const { image, actor, reason, interrupted, summary } = repaired;
  const { clusterSize, clustersFreed, refcountsLowered, copiedFlagsChanged } = summary;
  // Notes of an earlier version do not have it: it raised none.
  const { refcountsRaised = 0 } = summary as Partial<typeof summary>;
  return [
    {
      transaction: record.sequence,
      status: "repaired by a scan",
      began: record.time,
      operations: [],
      images: [
        {
          image: image.path,
          outcomes: [],
          clustersAllocated: 0,
          clustersFreed,
          bytesFreed: clustersFreed * clusterSize,
        },
      ],
      actor,
      ...(reason === undefined ? {} : { reason }),
      repair: {
        ...(interrupted === undefined
          ? {}
          : { interrupted: { journal: interrupted.journal, transaction: interrupted.transaction } }),
        clustersFreed,
        refcountsLowered,
        refcountsRaised,
        copiedFlagsChanged,
      },
    },
  ];
}

function imageOf(image: string, prepared: PreparedImage | undefined): HistoryImage {
  const { clusterSize, clustersAllocated, clustersFreed } = prepared?.summary ?? {
    clusterSize: 0,
    clustersAllocated: 0,
    clustersFreed: 0,
  };
  return {
    image,
    outcomes: prepared?.outcomes ?? [],
    clustersAllocated,
    clustersFreed,
    bytesFreed: clustersFreed * clusterSize,
  };
}
