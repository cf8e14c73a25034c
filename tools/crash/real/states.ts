import type { Random } from "../../image-maker/index.ts";
import { type SubsetLimits, chooseSubsets } from "../subsets.ts";
import type { Event } from "./change.ts";
import { type Fate, FileSystem, type Moment, piecesOf } from "./file-system.ts";
import { type Tree, treeDigest } from "./tree.ts";

/** What one power cut leaves. */
export interface CrashState {
  /** Events that had happened. */
  readonly position: number;
  /** Which of the pending changes survived, for a message: `+` kept, `-` lost, `~` torn. */
  readonly fates: string;
  readonly tree: () => Tree;
}

export interface StateLimits extends Partial<SubsetLimits> {
  /** At most so many states, the moments sharing them evenly. Any beginning of them lies all over the run. */
  readonly states?: number;
}

/** Different states that a power cut in this run can leave, each once. */
export function crashStates(
  root: string,
  start: Tree,
  events: readonly Event[],
  random: Random,
  limits: StateLimits = {},
): CrashState[] {
  const seen = new Set<string>();
  const byMoment: CrashState[][] = [];
  for (const [position, moment] of moments(root, start, events).entries()) {
    const found: CrashState[] = [];
    for (const fates of fatesOf(moment, random, limits)) {
      const digest = treeDigest(moment.digests(fates));
      if (seen.has(digest)) continue;
      seen.add(digest);
      found.push({ position, fates: fates.map(sign).join(""), tree: () => moment.cut(fates) });
    }
    byMoment.push(found);
  }
  // The kill, which keeps everything, comes first at every second moment, and then at the others.
  const hands = spread(byMoment).map(([kill, ...cuts], turn) => {
    if (kill === undefined) return [];
    const [cut, ...others] = random.shuffle(cuts);
    return cut === undefined ? [kill] : turn % 2 === 0 ? [kill, cut, ...others] : [cut, kill, ...others];
  });
  return dealt(hands, limits.states ?? Number.POSITIVE_INFINITY);
}

function moments(root: string, start: Tree, events: readonly Event[]): Moment[] {
  const files = new FileSystem(root, start);
  return [
    files.moment(),
    ...events.map((event) => {
      files.happen(event);
      return files.moment();
    }),
  ];
}

/** The tree that the whole run leaves when nothing is lost. */
export function finalTree(root: string, start: Tree, events: readonly Event[]): Tree {
  const last = moments(root, start, events).at(-1);
  return last?.cut(last.pending.map(() => true)) ?? start;
}

/** What is left when everything is lost that the run had not made durable. */
export function cutEverythingPending(root: string, start: Tree, events: readonly Event[]): Tree {
  const last = moments(root, start, events).at(-1);
  return last?.cut(last.pending.map(() => false)) ?? start;
}

function* fatesOf({ pending }: Moment, random: Random, limits: StateLimits): Generator<readonly Fate[]> {
  const pieces = pending.map(piecesOf);
  const total = pieces.reduce((sum, count) => sum + count, 0);
  yield pending.map(() => true);
  const joined = (kept: readonly boolean[]): Fate[] => {
    let at = 0;
    return pieces.map((count) => {
      const own = kept.slice(at, (at += count));
      return own.every((one) => one === own[0]) ? (own[0] ?? true) : own;
    });
  };
  if (total <= (limits.exhaustive ?? 6)) {
    for (const kept of chooseSubsets(total, random, limits)) yield joined(kept);
    return;
  }
  yield* chooseSubsets(pending.length, random, limits);
  for (const [torn, count] of pieces.entries()) {
    if (count === 1) continue;
    const cuts = new Set([1, count - 1, 1 + random.int(count - 1)]);
    for (const cut of cuts) {
      const head = Array.from({ length: count }, (_, sector) => sector < cut);
      // With and without what came after it.
      yield pending.map((_, index) => (index === torn ? head : index < torn));
      yield pending.map((_, index) => (index === torn ? head.toReversed() : true));
    }
  }
  for (let sample = 0; sample < (limits.samples ?? 12); sample++) {
    const density = random.pick([0.2, 0.5, 0.8]);
    const kept = Array.from({ length: total }, () => random.chance(density));
    const fates = joined(kept);
    // Sizes and names survive as prefixes: at random most would be lost, and the data with them.
    const ordered = random.chance(0.7);
    yield fates.map((fate, index) => (ordered && pending[index]?.kind !== "data" ? true : fate));
  }
}

const sign = (fate: Fate): string => (fate === true ? "+" : fate === false ? "-" : "~");

/** In an order of which any beginning is spread over all of them: by the bits of their places, the last one first. */
function spread<T>(items: readonly T[]): T[] {
  const bits = Array.from({ length: items.length.toString(2).length }, (_, bit) => bit);
  const reversed = (place: number): number => bits.reduce((sum, bit) => sum * 2 + ((place >> bit) & 1), 0);
  return [...items.entries()].toSorted(([a], [b]) => reversed(a) - reversed(b)).map(([, item]) => item);
}

/** Takes one of each in turn until there are `limit`. */
function dealt<T>(hands: readonly (readonly T[])[], limit: number): T[] {
  const longest = Math.max(0, ...hands.map((hand) => hand.length));
  const all = Array.from({ length: longest }, (_, round) =>
    hands.flatMap((hand) => hand.slice(round, round + 1)),
  );
  return all.flat().slice(0, limit);
}
