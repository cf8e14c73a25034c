/** Planted bugs: judges that cannot fail judge nothing. */
import { afterEach, describe, expect, test, vi } from "vitest";
import { Journal } from "../../journal/index.ts";
import type { HeaderIntent, Intent, PhasedIntents } from "../../src/intent/index.ts";
import type { ImagePlan, Operation } from "../../src/plan/index.ts";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { explore } from "./lab/explore.ts";
import { newWorld } from "../support/world.ts";

const planted = vi.hoisted(() => ({
  plan: undefined as ((plan: ImagePlan) => ImagePlan) | undefined,
  fence: undefined as ((fence: HeaderIntent) => HeaderIntent) | undefined,
  skipUnfence: false,
  skipTruncate: false,
}));

vi.mock("../../src/plan/index.ts", async (original) => {
  const real = await original<typeof import("../../src/plan/index.ts")>();
  const planImage: typeof real.planImage = async (...args) => {
    const plan = await real.planImage(...args);
    return planted.plan?.(plan) ?? plan;
  };
  return { ...real, planImage };
});

vi.mock("../../src/engine/fence.ts", async (original) => {
  const real = await original<typeof import("../../src/engine/fence.ts")>();
  const fenceIntent: typeof real.fenceIntent = (...args) => {
    const fence = real.fenceIntent(...args);
    return planted.fence?.(fence) ?? fence;
  };
  const unfence: typeof real.unfence = async (...args) => {
    if (!planted.skipUnfence) await real.unfence(...args);
  };
  return { ...real, fenceIntent, unfence };
});

vi.mock("../../src/engine/give-back.ts", async (original) => {
  const real = await original<typeof import("../../src/engine/give-back.ts")>();
  const { unfence } = await import("../../src/engine/fence.ts");
  const giveBack: typeof real.giveBack = async (disk, image) => {
    if (planted.skipTruncate) {
      await unfence(disk, image.fence);
      await disk.sync();
    } else await real.giveBack(disk, image);
  };
  return { ...real, giveBack };
});

afterEach(() => {
  planted.plan = undefined;
  planted.fence = undefined;
  planted.skipUnfence = false;
  planted.skipTruncate = false;
  vi.restoreAllMocks();
});

const PATH = "/memory/canary.qcow2";

/** Two snapshots that differ from each other and from the active layer, in small clusters. */
const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 10,
  virtualSize: 400 * 1024,
  snapshots: [
    { name: "old", changes: [{ at: 0, count: 40, kind: "data", seed: 1 }] },
    { name: "newer", changes: [{ at: 20, count: 150, kind: "data", seed: 2 }] },
  ],
  active: {
    changes: [
      { at: 5, count: 3, kind: "data", seed: 3 },
      { at: 200, count: 9, kind: "data", seed: 4 },
    ],
  },
};

const OPERATIONS = {
  create: { type: "create", image: PATH, name: "new" },
  revert: { type: "revert", image: PATH, name: "old" },
  delete: { type: "delete", image: PATH, name: "newer" },
} satisfies Record<string, Operation>;

type Verb = keyof typeof OPERATIONS;
const VERBS = Object.keys(OPERATIONS) as Verb[];

const exploreCanary = (verb: Verb): Promise<unknown> =>
  explore(newWorld({ [PATH]: makeImage(SPEC) }), [OPERATIONS[verb]], (event) => event % 5 === 0);

/** A plan with other phases. */
function withPhases(
  change: (phases: PhasedIntents) => Partial<PhasedIntents>,
): (plan: ImagePlan) => ImagePlan {
  return (plan) => ({ ...plan, phases: { ...plan.phases, ...change(plan.phases) } });
}

/** A plan without the first intent that fits; says whether there was one. */
function dropping(fits: (intent: Intent) => boolean): (plan: ImagePlan) => ImagePlan {
  return (plan) => {
    let dropped = false;
    const keep = (intent: Intent): boolean => {
      if (dropped || !fits(intent)) return true;
      dropped = true;
      return false;
    };
    const { reserve, raise, switch: header, lower, discard } = plan.phases;
    const phases = {
      reserve,
      raise: raise.filter(keep),
      switch: header.filter(keep),
      lower: lower.filter(keep),
      discard,
    };
    if (!dropped) throw new Error("nothing to drop: the canary does not sing");
    return { ...plan, phases };
  };
}

describe("without a planted bug", () => {
  test.each(VERBS)("the canary image survives every kill of a %s", async (verb) => {
    await expect(exploreCanary(verb)).resolves.toBeDefined();
  });
});

describe("the judge finds", () => {
  test.each(VERBS)("refcounts lowered before the header is switched (%s)", async (verb) => {
    planted.plan = withPhases(({ lower, switch: header }) => ({ lower: header, switch: lower }));
    await expect(exploreCanary(verb)).rejects.toThrow(/killed at event \d+.*(more than leaks|neither)/s);
  });

  test.each(["create", "revert"] as const)(
    "refcounts raised after the header is switched (%s)",
    async (verb) => {
      planted.plan = withPhases(({ raise, switch: header }) => ({ raise: header, switch: raise }));
      await expect(exploreCanary(verb)).rejects.toThrow(/more than leaks/);
    },
  );

  test.each(VERBS)("a refcount that is never changed (%s)", async (verb) => {
    planted.plan = dropping(({ kind }) => kind === "refcount");
    await expect(exploreCanary(verb)).rejects.toThrow(/killed at event \d+/);
  });

  test("a COPIED flag that is never cleared", async () => {
    planted.plan = dropping((intent) => intent.kind === "copied" && !intent.set);
    await expect(exploreCanary("create")).rejects.toThrow(/COPIED is true/);
  });

  test("a COPIED flag that is never set", async () => {
    planted.plan = dropping((intent) => intent.kind === "copied" && intent.set);
    await expect(exploreCanary("delete")).rejects.toThrow(/COPIED is false/);
  });

  test.each(VERBS)("a header that is never switched (%s)", async (verb) => {
    planted.plan = withPhases(() => ({ switch: [] }));
    await expect(exploreCanary(verb)).rejects.toThrow(/killed at event \d+/);
  });

  test.each(VERBS)("a fence that is never set (%s)", async (verb) => {
    planted.fence = (fence) => ({ ...fence, patches: [] });
    await expect(exploreCanary(verb)).rejects.toThrow(/killed at event \d+/);
  });

  test.each(VERBS)("a fence that stays (%s)", async (verb) => {
    planted.skipUnfence = true;
    await expect(exploreCanary(verb)).rejects.toThrow(/still fenced|fence/);
  });

  test.each(["create", "revert"] as const)("reserved space that is not given back (%s)", async (verb) => {
    planted.skipTruncate = true;
    await expect(exploreCanary(verb)).rejects.toThrow(/length of the file/);
  });

  test.each(VERBS)("freed clusters punched out before nothing refers to them (%s)", async (verb) => {
    planted.plan = withPhases(({ raise, discard }) => ({ raise: [...discard, ...raise], discard: [] }));
    await expect(exploreCanary(verb)).rejects.toThrow(/killed at event \d+/);
  });

  test.each(VERBS)("intents that the journal does not hold (%s)", async (verb) => {
    vi.spyOn(Journal.prototype, "part").mockResolvedValue(undefined);
    await expect(exploreCanary(verb)).rejects.toThrow(/killed at event \d+/);
  });
});
