import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isQcowalError } from "../../src/errors/index.ts";
import {
  type Intent,
  PHASES,
  applyIntent,
  decodeIntent,
  encodeIntent,
  inspectIntent,
} from "../../src/intent/index.ts";
import { makeImage, randomSpec } from "../../tools/image-maker/index.ts";
import { applyPlan, planOn } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { visible } from "../support/model.ts";
import { randomOperation } from "../support/random-operation.ts";
import { seededRandom } from "../support/random.ts";

interface Planned {
  readonly before: Uint8Array;
  readonly after: Uint8Array;
  readonly intents: readonly (readonly Intent[])[];
  readonly grownTo: number;
}

/** A random image and the plan of a random operation on it; undefined when the operation is refused. */
async function planned(seed: number): Promise<Planned | undefined> {
  const random = seededRandom(seed);
  const before = makeImage(randomSpec(random, { maxClusterBits: 14 }));
  const disk = new MemoryDisk(before);
  const operation = randomOperation(random, disk.path, visible(before).snapshots, "new");
  try {
    const plan = await planOn(disk, operation);
    // What takes an extension out of the header is no intent of a phase.
    const { extensionPatches: _, ...phases } = plan;
    await applyPlan(disk, phases);
    const intents = PHASES.map((phase) => [...plan.phases[phase]]);
    return { before, after: disk.bytes(), intents, grownTo: plan.fileSize.to };
  } catch (error) {
    if (isQcowalError(error, "REFCOUNT_OVERFLOW") || isQcowalError(error, "IMAGE_UNSUPPORTED"))
      return undefined;
    throw error;
  }
}

async function grown({ before, grownTo }: Planned): Promise<MemoryDisk> {
  const disk = new MemoryDisk(before);
  await disk.truncate(Math.max(before.length, grownTo));
  return disk;
}

const seeds = fc.integer({ min: 0, max: 2 ** 31 - 1 });
const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

describe("intents", () => {
  test("any prefix of them and then all of them equals applying them once", async () => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.nat(), fc.nat(), async (seed, cut, second) => {
        const plan = await planned(seed);
        if (plan === undefined) return;
        const all = plan.intents.flat();
        const disk = await grown(plan);
        for (const length of [cut % (all.length + 1), second % (all.length + 1), all.length]) {
          for (const intent of all.slice(0, length)) await applyIntent(disk, intent);
        }
        expect(sameBytes(disk.bytes(), plan.after)).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  test("any subset of one phase's intents, in any order, and then all of them equals applying them once", async () => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.nat(), async (seed, choice) => {
        const plan = await planned(seed);
        if (plan === undefined) return;
        const random = seededRandom(choice);
        const disk = await grown(plan);
        for (const phase of plan.intents) {
          const some = phase.filter(() => random.chance(0.5)).toReversed();
          for (const intent of some) await applyIntent(disk, intent);
          for (const intent of phase) await applyIntent(disk, intent);
        }
        expect(sameBytes(disk.bytes(), plan.after)).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  test("show 'before' on the image before, 'after' on the image after, and survive the journal's encoding", async () => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const plan = await planned(seed);
        if (plan === undefined) return;
        const before = await grown(plan);
        const after = new MemoryDisk(plan.after);
        for (const intent of plan.intents.slice(1).flat()) {
          const decoded = decodeIntent(encodeIntent(intent));
          expect(decoded).toEqual(intent);
          if (intent.kind === "discard") continue;
          expect(await inspectIntent(before, decoded)).toEqual({ state: "before" });
          expect(await inspectIntent(after, decoded)).toEqual({ state: "after" });
        }
        for (const intent of plan.intents[0] ?? []) {
          expect(await inspectIntent(after, decodeIntent(encodeIntent(intent)))).toEqual({ state: "after" });
        }
      }),
      { numRuns: 150 },
    );
  });

  test("call foreign whatever else is written under them", async () => {
    let foreign = 0;
    await fc.assert(
      fc.asyncProperty(seeds, fc.nat(), async (seed, choice) => {
        const plan = await planned(seed);
        if (plan === undefined) return;
        const random = seededRandom(choice);
        for (const intent of plan.intents.slice(1).flat()) {
          const at = foreignByte(intent, random);
          if (at === undefined) continue;
          const bytes = plan.after.slice();
          bytes[at] = (bytes[at] ?? 0) ^ 0x10;
          const { state } = await inspectIntent(new MemoryDisk(bytes), intent);
          expect(state, `${intent.kind} at ${at}`).toBe("foreign");
          foreign += 1;
        }
      }),
      { numRuns: 250 },
    );
    expect(foreign).toBeGreaterThan(0);
  });

  test("tell a torn write apart: one sector before, the next one after", async () => {
    let torn = 0;
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const plan = await planned(seed);
        if (plan === undefined) return;
        for (const intent of plan.intents.slice(1).flat()) {
          if (intent.kind !== "copied" || intent.length < 1024) continue;
          const [first, last] = [intent.runs[0], intent.runs.at(-1)];
          if (first === undefined || last === undefined) continue;
          const cut = 512;
          if (first[0] * intent.entrySize >= cut || (last[0] + last[1] - 1) * intent.entrySize < cut)
            continue;
          const disk = await grown(plan);
          await disk.write(intent.table, plan.after.slice(intent.table, intent.table + cut));
          expect(await inspectIntent(disk, intent)).toEqual({ state: "torn" });
          torn += 1;
        }
      }),
      { numRuns: 300 },
    );
    expect(torn).toBeGreaterThan(0);
  });
});

/** A byte that the intent answers for, in which a flipped bit makes a state that it never leaves. */
function foreignByte(intent: Intent, random: ReturnType<typeof seededRandom>): number | undefined {
  switch (intent.kind) {
    case "copied":
      return intent.table + random.int(intent.length);
    case "pointer":
      return intent.slot + 2;
    case "header": {
      const patch = intent.patches[0];
      return patch && changedByte(patch.offset, patch.before, patch.after);
    }
    case "refcount":
    case "fill":
    case "zero":
    case "discard":
      return undefined;
  }
}

function changedByte(offset: number, before: Uint8Array, after: Uint8Array): number | undefined {
  const at = after.findIndex((byte, index) => byte !== before[index] && (byte ^ 0x10) !== before[index]);
  return at < 0 ? undefined : offset + at;
}
