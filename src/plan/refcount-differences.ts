import type { Census, Refcounts } from "../image/index.ts";
import { RefcountChanges } from "./refcount-changes.ts";

/** In which direction refcounts may change. */
export interface AllowedChanges {
  readonly raise: boolean;
  readonly lower: boolean;
}

/** Where the stored refcounts differ from what the tables refer to. */
export interface RefcountDifferences {
  /** What makes them agree, as far as it is allowed. */
  readonly changes: RefcountChanges;
  /** Refcounts that stay as they are, because a change was not allowed. */
  readonly left: { readonly tooHigh: number; readonly tooLow: number };
  readonly leakedClusters: number;
  /** Of clusters in use. */
  readonly tooHigh: number;
  readonly tooLow: number;
  /** Clusters in use of which no refcount is stored. */
  readonly uncounted: number;
  /** The first of them in words: what endangers data before what only takes space. */
  readonly findings: readonly string[];
}

/** More findings say no more. */
const MAX_FINDINGS = 10;
/** Largest difference that is counted. */
export const MAX_DIFFERENCE = 2 ** 31 - 1;

/**
 * Compares every stored refcount with the census, behind the end of the file
 * too. Where no block is stored, every reference is one that is not counted.
 */
export function refcountDifferences(
  path: string,
  census: Census,
  refcounts: Refcounts,
  allowed: AllowedChanges,
): RefcountDifferences {
  const changes = new RefcountChanges(path, refcounts);
  const { refcountEntries } = census.geometry;
  const totals = { leakedClusters: 0, tooHigh: 0, tooLow: 0, uncounted: 0 };
  const left = { tooHigh: 0, tooLow: 0 };
  const low = new Runs();
  const high = new Runs();
  const stored = [...refcounts.table.keys()].filter((index) => refcounts.table[index] !== 0);
  const indexes = new Set([...stored, ...census.blockIndexes]);
  for (const index of [...indexes].toSorted((a, b) => a - b)) {
    const counts = census.counts(index);
    if (counts === undefined && refcounts.isBlank(index)) continue;
    const isStored = refcounts.block(index) !== undefined;
    for (let entry = 0; entry < refcountEntries; entry += 1) {
      const cluster = index * refcountEntries + entry;
      const refcount = refcounts.get(cluster);
      const references = counts?.[entry] ?? 0;
      if (refcount === references) continue;
      const difference = references - refcount;
      if (difference > 0 ? !allowed.raise : !allowed.lower) {
        left[difference > 0 ? "tooLow" : "tooHigh"] += 1;
        continue;
      }
      if (Math.abs(difference) > MAX_DIFFERENCE) {
        census.find(`the refcount of cluster ${cluster} is too far off to be changed (${refcount})`);
        continue;
      }
      changes.add(cluster, difference);
      // A missing block is one finding, not one for each cluster that it should count.
      if (!isStored) totals.uncounted += 1;
      if (!isStored) continue;
      if (difference > 0) totals.tooLow += 1;
      else if (references > 0) totals.tooHigh += 1;
      else totals.leakedClusters += 1;
      (difference > 0 ? low : high).add(cluster, refcount, references);
    }
  }
  return { changes, ...totals, left, findings: [...low.words(), ...high.words()].slice(0, MAX_FINDINGS) };
}

interface Run {
  readonly first: number;
  last: number;
  readonly refcount: number;
  readonly references: number;
}

/** Differences of the same kind in a row are one finding; only the first are kept. */
class Runs {
  readonly #runs: Run[] = [];

  add(cluster: number, refcount: number, references: number): void {
    const run = this.#runs.at(-1);
    if (run?.last === cluster - 1 && run.refcount === refcount && run.references === references) {
      run.last = cluster;
    } else if (this.#runs.length <= MAX_FINDINGS) {
      this.#runs.push({ first: cluster, last: cluster, refcount, references });
    }
  }

  words(): string[] {
    return this.#runs.map(({ first, last, refcount, references }) => {
      const [who, is, has] =
        first === last ? [`cluster ${first}`, "is", "has"] : [`clusters ${first} to ${last}`, "are", "have"];
      if (references === 0) return `${who} ${is} leaked (refcount ${refcount})`;
      return `${who} ${has} refcount ${refcount} and ${references} reference${references === 1 ? "" : "s"}`;
    });
  }
}
