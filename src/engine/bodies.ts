/**
 * What the engine writes into the journal, and how it is read back. A journal
 * may be years old or damaged: every field is checked before it is believed.
 */
import { type ErrorCode, QcowalError } from "../errors/index.ts";
import {
  type HeaderIntent,
  type IntentList,
  PHASES,
  PackedIntents,
  type Phase,
  decodeIntent,
  encodeIntent,
  unpackIntents,
} from "../intent/index.ts";
import type { FenceOwner } from "../format/index.ts";
import type { SnapshotFacts } from "../image/index.ts";
import type {
  ImagePlan,
  JournaledOperation,
  OperationOutcome,
  PlanSummary,
  RepairSummary,
} from "../plan/index.ts";
import type { Actor } from "./actor.ts";
import type { ImageIdentity } from "./identity.ts";
import type { Observation } from "./observation.ts";

/** First record of a transaction: what was asked, by whom and why. */
export interface BegunBody {
  readonly operations: readonly JournaledOperation[];
  readonly actor: Actor;
  readonly reason?: string;
  /** The transaction that it undoes. */
  readonly undoes?: number;
  /** When it was asked for, in milliseconds since 1970: planning comes before the record. */
  readonly asked?: number;
  readonly images: readonly BegunImage[];
}

export interface BegunImage extends ImageIdentity {
  /** `tableDigest` of the snapshots that it had. Journals of earlier versions do not have it. */
  readonly digest?: string;
  /** The same of those that it will have, where the plan knows them. */
  readonly digestAfter?: string;
  /** What the record did not know of it. */
  readonly observed?: Observation;
}

/** A note, outside any transaction: what was asked for was refused before anything was recorded. */
export interface RefusedBody {
  readonly type: "refused";
  readonly operations: readonly JournaledOperation[];
  readonly actor: Actor;
  readonly reason?: string;
  readonly asked: number;
  /** Resolved paths. */
  readonly images: readonly string[];
  readonly code: ErrorCode;
  readonly why: string;
}

/** A note, outside any transaction: an image was opened and shows what the record did not know. */
export interface ObservedBody {
  readonly type: "observed";
  readonly image: ImageIdentity;
  readonly observed: Observation;
  readonly actor: Actor;
}

/** A run of one image's intents in one phase. Parts come phase by phase, in each phase image by image. */
export interface PhasePart {
  readonly phase: Phase;
  /** Index into the transaction's images. */
  readonly image: number;
  readonly intents: IntentList;
}

/** Last record before anything is written to an image: the plan is complete. */
export interface PreparedBody {
  readonly images: readonly PreparedImage[];
}

export interface PreparedImage {
  readonly fence: HeaderIntent;
  readonly extensionPatches?: ImagePlan["extensionPatches"];
  readonly fileSize: ImagePlan["fileSize"];
  readonly outcomes: readonly OperationOutcome[];
  readonly summary: PlanSummary;
}

/** How a transaction ended. */
export interface EndBody {
  /** True when recovery ended it, not the process that began it. */
  readonly recovered: boolean;
  readonly actor: Actor;
  /** Why it was aborted. */
  readonly why?: string;
  readonly code?: ErrorCode;
  /** Why somebody recovered it, in their words. */
  readonly reason?: string;
  /** How an image contradicted this end when it was recorded. */
  readonly doubt?: string;
}

/** A note, outside any transaction: an image was repaired by a scan. */
export interface RepairedBody {
  readonly type: "repaired";
  readonly image: ImageIdentity;
  readonly actor: Actor;
  readonly reason?: string;
  /** Who had fenced it, where its header said so. */
  readonly interrupted?: FenceOwner;
  readonly summary: RepairSummary;
}

/** A note, outside any transaction: somebody holds a snapshot under a tag, or holds it no more. */
export interface HoldBody {
  readonly type: "held" | "released";
  readonly image: ImageIdentity;
  readonly snapshot: SnapshotFacts;
  readonly tag: string;
  readonly actor: Actor;
  readonly reason?: string;
  /** The record of a hold or a release that it undoes. */
  readonly undoes?: number;
}

/** A note, outside any transaction: an image was made that was not there before. */
export interface MadeBody {
  readonly type: "made";
  readonly image: BegunImage;
  readonly operations: readonly JournaledOperation[];
  readonly outcomes: readonly OperationOutcome[];
  readonly actor: Actor;
  readonly reason?: string;
  readonly asked: number;
}

/** Intents of one record; far below the journal's limit of 1 MiB even when each is at its largest. */
const PART_BYTES = 256 * 1024;

/** The bodies of the part records of a plan. */
export function* encodeParts(plans: readonly Pick<ImagePlan, "phases">[]): Generator<unknown> {
  for (const phase of PHASES) {
    for (const [image, plan] of plans.entries()) {
      for (const piece of packed(plan.phases[phase]).pieces(PART_BYTES)) yield [phase, image, piece];
    }
  }
}

const packed = (intents: IntentList): PackedIntents =>
  intents instanceof PackedIntents ? intents : PackedIntents.of(intents);

/** @throws QcowalError JOURNAL_DAMAGED */
export function decodePart(body: unknown): PhasePart {
  if (!Array.isArray(body)) throw damaged("a part is not a list");
  // Earlier journals have a list of encoded intents where now their bytes are.
  const [phase, image, intents] = body as unknown[];
  const known = PHASES.find((candidate) => candidate === phase);
  if (known === undefined) throw damaged(`phase ${String(phase)} is not known to this version`);
  if (typeof image !== "number") throw damaged("a part has the wrong shape");
  if (intents instanceof Uint8Array) return { phase: known, image, intents: unpackIntents(intents) };
  if (!Array.isArray(intents)) throw damaged("a part has the wrong shape");
  return { phase: known, image, intents: intents.map(decodeIntent) };
}

export function encodePrepared({ images }: PreparedBody): unknown {
  return {
    images: images.map(({ extensionPatches, ...image }) => ({
      ...image,
      fence: encodeIntent(image.fence),
      ...(extensionPatches === undefined
        ? {}
        : { extensionPatches: encodeIntent({ kind: "header", patches: extensionPatches }) }),
    })),
  };
}

/** @throws QcowalError JOURNAL_DAMAGED */
export function decodePrepared(body: unknown): PreparedBody {
  const { images } = asObject(body, "prepared record");
  if (!Array.isArray(images)) throw damaged("a prepared record names no images");
  return {
    images: images.map((value): PreparedImage => {
      const image = asObject(value, "prepared image");
      const fence = decodeIntent(image["fence"]);
      const fileSize = asObject(image["fileSize"], "file size");
      if (fence.kind !== "header") throw damaged("a fence is not a header intent");
      if (!Number.isSafeInteger(fileSize["from"]) || !Number.isSafeInteger(fileSize["to"])) {
        throw damaged("a file size is not a number");
      }
      const { extensionPatches, ...rest } = image;
      const extensions = extensionPatches === undefined ? undefined : decodeIntent(extensionPatches);
      if (extensions !== undefined && extensions.kind !== "header") {
        throw damaged("patches of header extensions are not a header intent");
      }
      return {
        ...(rest as unknown as PreparedImage),
        fence,
        ...(extensions === undefined ? {} : { extensionPatches: extensions.patches }),
      };
    }),
  };
}

/** @throws QcowalError JOURNAL_DAMAGED */
export function decodeBegun(body: unknown): BegunBody {
  const begun = asObject(body, "begun record");
  const images = begun["images"];
  if (!Array.isArray(begun["operations"]) || !Array.isArray(images))
    throw damaged("a begun record is incomplete");
  for (const image of images) {
    assertPath(image);
  }
  return begun as unknown as BegunBody;
}

export type NoteBody = RepairedBody | RefusedBody | ObservedBody | HoldBody | MadeBody;

/** Undefined for a note of a type that this version does not know. */
export function decodeNote(body: unknown): NoteBody | undefined {
  const note = asObject(body, "note");
  switch (note["type"]) {
    case "repaired":
      assertPath(note["image"]);
      asObject(note["summary"], "summary");
      break;
    case "observed":
      assertPath(note["image"]);
      asObject(note["observed"], "observation");
      break;
    case "made":
      assertPath(note["image"]);
      if (!Array.isArray(note["operations"]) || !Array.isArray(note["outcomes"]))
        throw damaged("what an image was made of is incomplete");
      break;
    case "held":
    case "released":
      assertPath(note["image"]);
      asObject(note["snapshot"], "snapshot");
      if (typeof note["tag"] !== "string") throw damaged("a hold has no tag");
      break;
    case "refused":
      if (!Array.isArray(note["operations"]) || !Array.isArray(note["images"]))
        throw damaged("a refusal is incomplete");
      break;
    default:
      return undefined;
  }
  asObject(note["actor"], "actor");
  return note as unknown as NoteBody;
}

function assertPath(image: unknown): void {
  if (typeof asObject(image, "image")["path"] !== "string") throw damaged("an image has no path");
}

function asObject(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw damaged(`${what} is not an object`);
  return value as Record<string, unknown>;
}

function damaged(what: string): QcowalError {
  return new QcowalError(
    "JOURNAL_DAMAGED",
    `The journal holds something unexpected: ${what}. Nothing was changed.`,
  );
}
