export type FindingKind = "leak" | "corruption" | "error" | "note";

/** One thing that a check has to say. */
export interface Finding {
  /** As qemu-img counts it. A note changes no count: QEMU does not look there, or sees no harm in it. */
  readonly kind: FindingKind;
  /** The structure in which it shows. */
  readonly where: string;
  readonly what: string;
  /** Host offset of that structure, or of the cluster. */
  readonly offset?: number;
  /** Host cluster that it is about. */
  readonly cluster?: number;
  /** What is stored for this cluster; above 2^53 - 1, which no number holds exactly, a string of decimal digits. */
  readonly refcount?: number | string;
  /** How often the tables refer to it. */
  readonly references?: number;
  /** How often it counts: qemu-img counts an entry once for each path that leads to it. Default 1. */
  readonly times?: number;
  /** Whose it is: the active layer, snapshots, or structures of the image itself. */
  readonly owners: readonly string[];
}

/** A finding before it is known to whom it belongs. */
export interface Draft extends Omit<Finding, "kind" | "owners"> {
  /** Known from the start. */
  readonly owner?: string;
  /** Host offset of the L2 table that holds the entry: its roots are the owners. */
  readonly l2Table?: number;
}

export interface Kept extends Draft {
  readonly kind: FindingKind;
}

/** A damaged image may have millions; these say enough, the rest is counted. */
const MAX_KEPT = 1000;

/**
 * Parts of a report, in the order in which they are told. What belongs to one is
 * found in several passes when the image is large, and told as if it were one.
 */
const PARTS = [
  "structures",
  "l1Tables",
  "l2TablesOutside",
  "l2Tables",
  "slots",
  "unreadableBlocks",
  "missingBlocks",
  "refcounts",
  "behindEnd",
  "summary",
] as const;
export type Part = (typeof PARTS)[number];

/** Where in its part a finding is told. */
export type Position = readonly [major: number, minor: number];
const START: Position = [0, 0];

interface Placed {
  readonly position: Position;
  readonly finding: Kept;
}

/** Counts all findings and keeps the first of them. */
export class Findings {
  readonly #kept: Readonly<Record<Part, Placed[]>>;
  readonly #counts = { leak: 0, corruption: 0, error: 0, note: 0 };
  #added = 0;

  constructor() {
    const kept: Partial<Record<Part, Placed[]>> = {};
    for (const part of PARTS) kept[part] = [];
    this.#kept = kept as Record<Part, Placed[]>;
  }

  /**
   * `draft` is called only for those that are kept, at once. Those of a part that
   * have the same position are told as they come.
   */
  add(kind: FindingKind, part: Part, draft: () => Draft, times = 1, position: Position = START): void {
    this.#counts[kind] += times;
    this.#added += 1;
    const kept = this.#kept[part];
    const last = kept.at(-1);
    const isBehind = last === undefined || !isBefore(position, last.position);
    if (isBehind && kept.length >= MAX_KEPT) return;
    const finding = { kind, ...draft(), ...(times === 1 ? {} : { times }) };
    if (isBehind) kept.push({ position, finding });
    else kept.splice(firstBehind(kept, position), 0, { position, finding });
    if (kept.length > MAX_KEPT) kept.pop();
  }

  get kept(): readonly Kept[] {
    return PARTS.flatMap((part) => this.#kept[part])
      .slice(0, MAX_KEPT)
      .map(({ finding }) => finding);
  }

  get leftOut(): number {
    return this.#added - Math.min(MAX_KEPT, this.#keptUpTo());
  }

  /** True when nothing more is kept of a part, whatever is found of it. */
  isFull(part: Part): boolean {
    return this.#keptUpTo(part) >= MAX_KEPT;
  }

  /** So many findings of one kind that are counted only. */
  addUnseen(kind: FindingKind, count: number): void {
    this.#counts[kind] += count;
    this.#added += count;
  }

  count(kind: FindingKind): number {
    return this.#counts[kind];
  }

  #keptUpTo(last: Part = "summary"): number {
    let kept = 0;
    for (const part of PARTS) {
      kept += this.#kept[part].length;
      if (part === last) break;
    }
    return kept;
  }
}

const isBefore = ([major, minor]: Position, [otherMajor, otherMinor]: Position): boolean =>
  major < otherMajor || (major === otherMajor && minor < otherMinor);

function firstBehind(kept: readonly Placed[], position: Position): number {
  let low = 0;
  let high = kept.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isBefore(position, kept[middle]?.position ?? START)) high = middle;
    else low = middle + 1;
  }
  return low;
}

export const hex = (offset: number): string => `0x${offset.toString(16)}`;
