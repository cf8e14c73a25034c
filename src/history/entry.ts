import type { JournalRecord } from "../../journal/index.ts";
import type { ErrorCode } from "../errors/index.ts";
import {
  type Actor,
  type BegunBody,
  type EndBody,
  type MadeBody,
  type Observation,
  type PreparedImage,
  type RefusedBody,
  type RepairedBody,
  decodeBegun,
  decodeNote,
  decodePrepared,
} from "../engine/index.ts";
import type { SnapshotFacts } from "../image/index.ts";
import type { JournaledOperation, OperationOutcome } from "../plan/index.ts";

/** How a transaction stands or ended. */
export type HistoryStatus =
  | "done"
  /** Refused before anything was written: `code` and `why` say for what. */
  | "refused"
  /** It failed before the decision, nothing changed: `why` says for what. */
  | "failed"
  /** The caller called it off before the decision, nothing changed. */
  | "called off"
  | "finished by recovery"
  | "aborted by recovery"
  /** Ended by recovery, but an image contradicts that: `doubt` says how. */
  | "unconfirmed"
  /** Not a transaction: an image was repaired without its journal. */
  | "repaired by a scan"
  /** Not a transaction: an image was found other than recorded. */
  | "observed"
  /** Not a transaction: somebody holds a snapshot, or holds it no more. */
  | "held"
  | "released"
  /** Interrupted, recovery has not looked at it yet (or it is running now). */
  | "pending";

export interface HistoryImage {
  /** Resolved path at that time. */
  readonly image: string;
  readonly outcomes: readonly OperationOutcome[];
  readonly clustersAllocated: number;
  readonly clustersFreed: number;
  readonly bytesFreed: number;
  readonly refcountsChanged: number;
  readonly copiedFlagsChanged: number;
  /** What the image showed, before all of this, that the record did not know. */
  readonly observed?: Observation;
  /** `tableDigest` of its snapshots before and after, where it is known. */
  readonly digestBefore?: string;
  readonly digestAfter?: string;
}

/** One transaction in the record, or one note. Times are milliseconds since 1970. */
export interface HistoryEntry {
  /** Number in the journal. */
  readonly transaction: number;
  readonly status: HistoryStatus;
  /** When it was asked for. */
  readonly began: number;
  readonly ended?: number;
  /** Empty for an observation and for a repair by a scan. */
  readonly operations: readonly JournaledOperation[];
  readonly images: readonly HistoryImage[];
  readonly actor: Actor;
  readonly reason?: string;
  /** The transaction that it undid. */
  readonly undoes?: number;
  /** Why it did not happen. */
  readonly why?: string;
  readonly code?: ErrorCode;
  /** Who recovered it. */
  readonly recoveredBy?: Actor;
  /** Why they did, in their words. */
  readonly recoveryReason?: string;
  /** What contradicts the recorded end. */
  readonly doubt?: string;
  /** What a repair by a scan found. */
  readonly repair?: HistoryRepair;
  /** Which snapshot is held or released, and under which tag. */
  readonly hold?: { readonly snapshot: SnapshotFacts; readonly tag: string };
}

export interface HistoryRepair {
  /** The transaction that had fenced the image, and its journal, where the header said so. */
  readonly interrupted?: { readonly journal: string; readonly transaction: number };
  readonly clustersFreed: number;
  readonly refcountsLowered: number;
  readonly refcountsRaised: number;
  readonly copiedFlagsChanged: number;
}

/** The records of one transaction, as far as there are any. */
export class EntryDraft {
  readonly #first: JournalRecord;
  #prepared: readonly PreparedImage[] | undefined;
  #end: { readonly record: JournalRecord; readonly body: EndBody } | undefined;

  /** `first` is a `begun` record or a note. */
  constructor(first: JournalRecord) {
    this.#first = first;
  }

  get transaction(): number {
    return this.#first.sequence;
  }

  /** True when no later record can change it. */
  get isComplete(): boolean {
    return this.#first.kind === "note" || this.#end !== undefined;
  }

  add(record: JournalRecord): void {
    if (record.kind === "prepared") this.#prepared = decodePrepared(record.body).images;
    if (record.kind === "settled" || record.kind === "aborted")
      this.#end = { record, body: record.body as EndBody };
  }

  /** Undefined for a note of a kind that this version does not know. */
  entry(): HistoryEntry | undefined {
    return this.#first.kind === "note" ? entryOfNote(this.#first) : this.#entryOfTransaction();
  }

  #entryOfTransaction(): HistoryEntry {
    const begun = decodeBegun(this.#first.body);
    const end = this.#end;
    return {
      transaction: this.#first.sequence,
      status: this.#status(),
      began: begun.asked ?? this.#first.time,
      ...(end === undefined ? {} : { ended: end.record.time }),
      operations: begun.operations,
      images: begun.images.map((image, index) => imageOf(image, this.#prepared?.[index])),
      actor: begun.actor,
      ...(begun.reason === undefined ? {} : { reason: begun.reason }),
      ...(begun.undoes === undefined ? {} : { undoes: begun.undoes }),
      ...(end?.body.why === undefined ? {} : { why: end.body.why }),
      ...(end?.body.code === undefined ? {} : { code: end.body.code }),
      ...(end?.body.recovered === true ? { recoveredBy: end.body.actor } : {}),
      ...(end?.body.reason === undefined ? {} : { recoveryReason: end.body.reason }),
      ...(end?.body.doubt === undefined ? {} : { doubt: end.body.doubt }),
    };
  }

  #status(): HistoryStatus {
    if (this.#end === undefined) return "pending";
    const { record, body } = this.#end;
    if (body.doubt !== undefined) return "unconfirmed";
    if (record.kind === "settled") return body.recovered ? "finished by recovery" : "done";
    if (body.recovered) return "aborted by recovery";
    return body.code === "ABORTED" ? "called off" : "failed";
  }
}

function imageOf(
  { path, digest, digestAfter, observed }: BegunBody["images"][number],
  prepared: PreparedImage | undefined,
): HistoryImage {
  const { clusterSize, ...summary } = prepared?.summary ?? {
    clusterSize: 0,
    clustersAllocated: 0,
    clustersFreed: 0,
    refcountsChanged: 0,
    copiedFlagsChanged: 0,
  };
  return {
    image: path,
    outcomes: prepared?.outcomes ?? [],
    clustersAllocated: summary.clustersAllocated,
    clustersFreed: summary.clustersFreed,
    bytesFreed: summary.clustersFreed * clusterSize,
    refcountsChanged: summary.refcountsChanged,
    copiedFlagsChanged: summary.copiedFlagsChanged,
    ...(observed === undefined ? {} : { observed }),
    ...(digest === undefined ? {} : { digestBefore: digest }),
    ...(digestAfter === undefined ? {} : { digestAfter }),
  };
}

const untouched = (image: string): HistoryImage => ({
  image,
  outcomes: [],
  clustersAllocated: 0,
  clustersFreed: 0,
  bytesFreed: 0,
  refcountsChanged: 0,
  copiedFlagsChanged: 0,
});

function entryOfNote(record: JournalRecord): HistoryEntry | undefined {
  const note = decodeNote(record.body);
  switch (note?.type) {
    case "refused":
      return refused(record, note);
    case "repaired":
      return repaired(record, note);
    case "made":
      return made(record, note);
    case "held":
    case "released":
      return {
        transaction: record.sequence,
        status: note.type,
        began: record.time,
        operations: [],
        images: [untouched(note.image.path)],
        actor: note.actor,
        ...(note.reason === undefined ? {} : { reason: note.reason }),
        ...(note.undoes === undefined ? {} : { undoes: note.undoes }),
        hold: { snapshot: note.snapshot, tag: note.tag },
      };
    case "observed":
      return {
        transaction: record.sequence,
        status: "observed",
        began: record.time,
        operations: [],
        images: [
          { ...untouched(note.image.path), observed: note.observed, digestAfter: note.observed.digest },
        ],
        actor: note.actor,
      };
    case undefined:
      return undefined;
  }
}

function made({ sequence, time }: JournalRecord, note: MadeBody): HistoryEntry {
  const { path, observed, digestAfter } = note.image;
  return {
    transaction: sequence,
    status: "done",
    began: note.asked,
    ended: time,
    operations: note.operations,
    images: [
      {
        ...untouched(path),
        outcomes: note.outcomes,
        ...(observed === undefined ? {} : { observed }),
        ...(digestAfter === undefined ? {} : { digestAfter }),
      },
    ],
    actor: note.actor,
    ...(note.reason === undefined ? {} : { reason: note.reason }),
  };
}

function refused({ sequence, time }: JournalRecord, note: RefusedBody): HistoryEntry {
  return {
    transaction: sequence,
    status: "refused",
    began: note.asked,
    ended: time,
    operations: note.operations,
    images: note.images.map(untouched),
    actor: note.actor,
    ...(note.reason === undefined ? {} : { reason: note.reason }),
    why: note.why,
    code: note.code,
  };
}

function repaired({ sequence, time }: JournalRecord, note: RepairedBody): HistoryEntry {
  const { image, actor, reason, interrupted, summary } = note;
  const { clusterSize, clustersFreed, refcountsLowered, copiedFlagsChanged } = summary;
  // Notes of an earlier version do not have it: it raised none.
  const { refcountsRaised = 0 } = summary as Partial<typeof summary>;
  return {
    transaction: sequence,
    status: "repaired by a scan",
    began: time,
    operations: [],
    images: [
      {
        ...untouched(image.path),
        clustersFreed,
        bytesFreed: clustersFreed * clusterSize,
        refcountsChanged: refcountsLowered + refcountsRaised,
        copiedFlagsChanged,
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
  };
}
