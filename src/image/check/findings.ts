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

/** Counts all findings and keeps the first of them. */
export class Findings {
  readonly kept: Kept[] = [];
  leftOut = 0;
  readonly #counts = { leak: 0, corruption: 0, error: 0, note: 0 };

  /** `draft` is called only for those that are kept. */
  add(kind: FindingKind, draft: () => Draft, times = 1): void {
    this.#counts[kind] += times;
    if (this.kept.length < MAX_KEPT) {
      this.kept.push({ kind, ...draft(), ...(times === 1 ? {} : { times }) });
    } else this.leftOut += 1;
  }

  /** True when nothing more is kept. */
  get isFull(): boolean {
    return this.kept.length >= MAX_KEPT;
  }

  /** So many findings of one kind that are counted only. */
  addUnseen(kind: FindingKind, count: number): void {
    this.#counts[kind] += count;
    this.leftOut += count;
  }

  count(kind: FindingKind): number {
    return this.#counts[kind];
  }
}

export const hex = (offset: number): string => `0x${offset.toString(16)}`;
