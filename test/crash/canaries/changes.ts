/** How a bug changes a plan, or where it leaves a sync out. */
import { type Intent, type Phase, type PhasedIntents, fill } from "../../../src/intent/index.ts";
import type { ImagePlan } from "../../../src/plan/index.ts";
import type { Bug, Place } from "./planted.ts";

/** A plan with other phases. */
export const phases =
  (change: (phases: Arrays) => Partial<PhasedIntents>): NonNullable<Bug["plan"]> =>
  (plan) => ({ ...plan, phases: { ...plan.phases, ...change(arraysOf(plan.phases)) } });

type Arrays = Readonly<Record<Phase, readonly Intent[]>>;

function arraysOf({ reserve, raise, switch: header, lower, discard }: PhasedIntents): Arrays {
  return {
    reserve: [...reserve],
    raise: [...raise],
    switch: [...header],
    lower: [...lower],
    discard: [...discard],
  };
}

/** A plan without the first intent that fits. */
export function dropping(fits: (intent: Intent) => boolean): NonNullable<Bug["plan"]> {
  return changing(fits, () => []);
}

/** A plan with other intents in the place of the first that fits. There must be one, or the canary would not sing. */
export function changing(
  fits: (intent: Intent) => boolean,
  change: (intent: Intent) => Intent[],
): NonNullable<Bug["plan"]> {
  return (plan: ImagePlan) => {
    let isDone = false;
    const changed = (intents: readonly Intent[]): Intent[] =>
      intents.flatMap((intent) => {
        if (isDone || !fits(intent)) return [intent];
        isDone = true;
        return change(intent);
      });
    const { reserve, raise, switch: header, lower, discard } = arraysOf(plan.phases);
    const result = {
      reserve: changed(reserve),
      raise: changed(raise),
      switch: changed(header),
      lower: changed(lower),
      discard,
    };
    if (!isDone) throw new Error("nothing to change: the canary does not sing");
    return { ...plan, phases: result };
  };
}

export const syncAt =
  (step: Place["step"], inRecovery: boolean): NonNullable<Bug["skipsSync"]> =>
  (place) =>
    place.isRecovery === inRecovery && place.step === step;

/** The COPIED flag of every entry of a new table, as they are in the table of a snapshot that QEMU took. */
export function withEveryFlag(intent: Intent): Intent[] {
  if (intent.kind !== "fill" || intent.bytes === undefined) return [intent];
  const bytes = intent.bytes.slice();
  for (let at = 0; at < bytes.length; at += 8) {
    if (bytes.subarray(at, at + 8).some((byte) => byte !== 0)) bytes[at] = (bytes[at] ?? 0) | 0x80;
  }
  return [fill(intent.offset, bytes)];
}
