import { type Disk, allEnded } from "../disk/index.ts";
import { type ErrorDetails, type QcowalError, reasonOf } from "../errors/index.ts";
import { type ByteRange, type Inspection, type Intent, type Phase, inspectIntent } from "../intent/index.ts";
import type { PartSource } from "./apply-phases.ts";
import type { ImageState } from "./recovery-table.ts";

/** Where an image contradicts a transaction, or cannot be read. */
export interface Finding {
  readonly phase: Phase;
  readonly intent: Intent;
  readonly range: ByteRange;
  /** Why the range cannot be read; undefined when it was read, and shows what it must not. */
  readonly unreadable: QcowalError | undefined;
}

export interface InspectedImage {
  readonly state: ImageState;
  /** With state `foreign`. */
  readonly finding: Finding | undefined;
}

/**
 * What the image shows under the intents of a transaction, without writing.
 * Before the commit the reserved clusters may hold anything; after it their
 * contents must be there, because they were synced first.
 */
export async function inspectParts(
  disk: Disk,
  image: number,
  parts: PartSource,
  committed: boolean,
): Promise<InspectedImage> {
  let applied = false;
  for await (const { phase, image: owner, intents } of parts) {
    if (owner !== image || (phase === "reserve" && !committed)) continue;
    for await (const [intent, inspection] of inspections(disk, intents)) {
      if (inspection.state === "foreign" || inspection.state === "unreadable") {
        // Bytes that cannot be read cannot be judged: the table stops at them as at foreign ones.
        const unreadable = inspection.state === "unreadable" ? inspection.cause : undefined;
        return { state: "foreign", finding: { phase, intent, range: inspection.range, unreadable } };
      }
      if (phase !== "reserve" && phase !== "discard" && inspection.state !== "before") applied = true;
    }
  }
  return { state: applied ? "applied" : "before", finding: undefined };
}

/** What is looked at together: while one waits for the disk, the others do not. A table takes 2 MiB at most. */
const GROUP = 8;

/** What the disk shows under each of the intents, in order. Nothing is being read between two of them. */
async function* inspections(
  disk: Disk,
  intents: Iterable<Intent>,
): AsyncGenerator<readonly [Intent, Inspection]> {
  for (const group of groupsOf(intents)) {
    const inspected = group.map(async (intent) => [intent, await inspectIntent(disk, intent)] as const);
    await allEnded(inspected);
    yield* await Promise.all(inspected);
  }
}

function* groupsOf(intents: Iterable<Intent>): Generator<readonly Intent[]> {
  let group: Intent[] = [];
  for (const intent of intents) {
    group.push(intent);
    if (group.length < GROUP) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}

const hex = (offset: number): string => `0x${offset.toString(16)}`;

/** `byte 0x2d`, `bytes 0x20010-0x20017`: the last one included. */
export function rangeText({ offset, length }: ByteRange): string {
  return length === 1 ? `byte ${hex(offset)}` : `bytes ${hex(offset)}-${hex(offset + length - 1)}`;
}

/** What lies in the range, and how well it could be narrowed. */
function subjectOf({ intent, range }: Finding): string {
  switch (intent.kind) {
    case "fill":
      return "a new table; only the digest of the whole is known";
    case "refcount": {
      const width = 2 ** intent.order;
      const first = Math.floor(((range.offset - intent.block) * 8) / width);
      const last = Math.ceil(((range.offset - intent.block + range.length) * 8) / width) - 1;
      const entries = first === last ? `entry ${first}` : `entries ${first}-${last}`;
      return `${entries} of the refcount block at ${hex(intent.block)}`;
    }
    case "copied":
      return "an L1 or L2 table; only the checksum of the whole is known";
    case "pointer":
      return "a slot of the refcount table";
    case "header":
      return "the header";
    case "zero":
      return `entry ${(range.offset - intent.table) / 8} of the L2 table at ${hex(intent.table)}`;
    case "discard":
      return "freed clusters";
  }
}

/** The finding in words, as the beginning of a sentence. */
export function findingText(finding: Finding): string {
  const where = `${rangeText(finding.range)} (${subjectOf(finding)}; phase ${finding.phase})`;
  return finding.unreadable === undefined
    ? `${where} ${finding.range.length === 1 ? "is" : "are"} neither what the transaction found nor what it writes: somebody wrote behind the fence.`
    : `${where} cannot be read: ${reasonOf(finding.unreadable)}`;
}

export function findingDetails({ phase, intent, range }: Finding): ErrorDetails {
  return { phase, intent: intent.kind, ...range };
}
