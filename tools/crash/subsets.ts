import type { Random } from "../image-maker/index.ts";

export interface SubsetLimits {
  /** Up to so many things every subset is tried. */
  readonly exhaustive: number;
  /** Beyond that, so many random subsets. */
  readonly samples: number;
}

const DEFAULTS: SubsetLimits = { exhaustive: 6, samples: 12 };

/**
 * Which of `count` things that happened in an order are kept: all subsets where
 * that is few, else every prefix, all but one, one alone, and random ones of
 * every density. A subset may come twice.
 */
export function* chooseSubsets(
  count: number,
  random: Random,
  limits: Partial<SubsetLimits> = {},
): Generator<readonly boolean[]> {
  const { exhaustive, samples } = { ...DEFAULTS, ...limits };
  const each = (kept: (index: number) => boolean): boolean[] =>
    Array.from({ length: count }, (_, index) => kept(index));
  if (count <= exhaustive) {
    for (let bits = 0; bits < 2 ** count; bits++) yield each((index) => ((bits >> index) & 1) === 1);
    return;
  }
  for (let length = 0; length <= count; length++) yield each((index) => index < length);
  for (let one = 0; one < count; one++) {
    yield each((index) => index !== one);
    yield each((index) => index === one);
  }
  for (let sample = 0; sample < samples; sample++) {
    const density = random.pick([0.1, 0.5, 0.9]);
    yield each(() => random.chance(density));
  }
}
