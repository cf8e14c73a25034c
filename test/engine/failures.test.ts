import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import { isQcowalError } from "../../src/errors/index.ts";
import type { Operation } from "../../src/plan/index.ts";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { type Fault, Machine } from "../support/machine.ts";
import { type World, attempt, historyOf, newWorld, operate, recoverWorld } from "../support/world.ts";
import { checkImage, describeCheck, inspectImage, logicalState } from "../support/naive-qcow2.ts";

const PATH = "/memory/a.qcow2";

const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 10,
  virtualSize: 300 * 1024,
  snapshots: [
    { name: "old", changes: [{ at: 0, count: 40, kind: "data", seed: 1 }] },
    { name: "newer", changes: [{ at: 20, count: 90, kind: "data", seed: 2 }] },
  ],
  active: { changes: [{ at: 5, count: 3, kind: "data", seed: 3 }] },
};

const OPERATIONS = {
  create: { type: "create", image: PATH, name: "new" },
  revert: { type: "revert", image: PATH, name: "old" },
  delete: { type: "delete", image: PATH, name: "newer" },
} satisfies Record<string, Operation>;
const VERBS = Object.keys(OPERATIONS) as (keyof typeof OPERATIONS)[];
const CODES = ["NO_SPACE", "IO_FAILED"] as const;

const imageOf = (world: World): Uint8Array => world.images.get(PATH)?.bytes() ?? new Uint8Array();

const isFenced = (world: World): boolean => inspectImage(imageOf(world), { ignoreFence: true }).header.fenced;

/** All that a user can see: freed clusters that were not punched out make no difference. */
const seenIn = (bytes: Uint8Array): unknown => logicalState(inspectImage(bytes, { ignoreFence: true }));

const lastStatus = async (world: World): Promise<string> => (await historyOf(world)).at(-1)?.status ?? "none";

describe.each(VERBS)("%s, when any one write, sync or truncate of image or journal fails:", (verb) => {
  const start = newWorld({ [PATH]: makeImage(SPEC) });
  const operations = [OPERATIONS[verb]];

  test.each(CODES)("%s: nothing changed, or it needs recovery and recovery ends it cleanly", async (code) => {
    const before = imageOf(start);
    const undisturbed = await operate(start, operations);
    const after = imageOf(undisturbed.world);
    const seen = new Set<string>();
    for (let event = 1; event <= undisturbed.machine.events; event += 1) {
      const { failure, world } = await attempt(start, operations, new Machine(undefined, [{ event, code }]));
      const where = `event ${event}`;
      const outcome =
        failure === undefined ? "done" : isQcowalError(failure) ? failure.code : "not one of our errors";
      seen.add(outcome);
      const image = imageOf(world);
      if (outcome === "done") expect(seenIn(image), where).toEqual(seenIn(after));
      else if (outcome === code) {
        // Failed, nothing changed: the file is as it was, to the last byte.
        expect(Buffer.compare(image, before), where).toBe(0);
        expect(await lastStatus(world), where).not.toBe("done");
      } else expect(outcome, where).toBe("NEEDS_RECOVERY");
      const recovered = await recoverWorld(world);
      const result = imageOf(recovered.world);
      expect(describeCheck(checkImage(result)), where).toBe("clean");
      expect(isFenced(recovered.world), where).toBe(false);
      const isAfter = isDeepStrictEqual(seenIn(result), seenIn(after));
      expect(isAfter || Buffer.compare(result, before) === 0, where).toBe(true);
      const status = await lastStatus(recovered.world);
      const finished = status === "done" || status === "finished by recovery";
      expect(finished, `${where}: ${status}`).toBe(isAfter);
      if (outcome === code) expect(isAfter, where).toBe(false);
    }
    expect([...seen].toSorted()).toEqual(expect.arrayContaining([code, "NEEDS_RECOVERY"]));
  });

  test("two failures in a row, so that giving back fails too", async () => {
    const before = imageOf(start);
    const total = (await operate(start, operations)).machine.events;
    let stuck = 0;
    for (let event = 1; event < total; event += 1) {
      const faults: Fault[] = [1, 2, 3].map((next) => ({ event: event + next - 1, code: "IO_FAILED" }));
      const { failure, world } = await attempt(start, operations, new Machine(undefined, faults));
      if (isQcowalError(failure, "NEEDS_RECOVERY")) stuck += 1;
      else if (failure !== undefined)
        expect(Buffer.compare(imageOf(world), before), `event ${event}`).toBe(0);
      const recovered = await recoverWorld(world);
      expect(describeCheck(checkImage(imageOf(recovered.world))), `event ${event}`).toBe("clean");
      expect(isFenced(recovered.world)).toBe(false);
    }
    expect(stuck).toBeGreaterThan(3);
  });
});

describe("called off", () => {
  const start = newWorld({ [PATH]: makeImage(SPEC) });

  test.each(VERBS)(
    "%s at any step: before the decision nothing changed, from then on it is done",
    async (verb) => {
      const before = imageOf(start);
      const steps: string[] = [];
      await attempt(start, [OPERATIONS[verb]], new Machine(), { onProgress: ({ step }) => steps.push(step) });
      expect(steps.slice(0, 6)).toEqual(["recover", "plan", "prepare", "fence", "reserve", "commit"]);
      for (const [index, step] of steps.entries()) {
        const controller = new AbortController();
        let count = 0;
        const { failure, world } = await attempt(start, [OPERATIONS[verb]], new Machine(), {
          signal: controller.signal,
          onProgress: () => {
            if (count++ === index) controller.abort("enough");
          },
        });
        // The signal is looked at when the next step begins.
        if (index < steps.indexOf("commit")) {
          expect(failure, step).toMatchObject({ code: "ABORTED", cause: "enough" });
          expect(Buffer.compare(imageOf(world), before), step).toBe(0);
          expect(["none", "aborted"]).toContain(await lastStatus(world));
        } else {
          expect(failure, step).toBeUndefined();
          expect(await lastStatus(world), step).toBe("done");
        }
        expect(describeCheck(checkImage(imageOf(world)))).toBe("clean");
      }
    },
  );

  test("by a listener that throws: its error before the decision, a warning after it", async () => {
    const before = imageOf(start);
    const warnings: string[] = [];
    const hear = (warning: Error): void => void warnings.push(warning.message);
    process.on("warning", hear);
    try {
      for (const step of ["plan", "prepare", "fence", "reserve", "commit"]) {
        const { failure, world } = await attempt(start, [OPERATIONS.revert], new Machine(), {
          onProgress: (event) => {
            if (event.step === step) throw new RangeError("no more");
          },
        });
        expect(failure, step).toEqual(new RangeError("no more"));
        expect(Buffer.compare(imageOf(world), before), step).toBe(0);
      }
      const { failure, world } = await attempt(start, [OPERATIONS.revert], new Machine(), {
        onProgress: (event) => {
          if (event.step === "switch") throw new RangeError("too late");
        },
      });
      expect(failure).toBeUndefined();
      expect(await lastStatus(world)).toBe("done");
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
      expect(warnings).toEqual(["too late"]);
    } finally {
      process.off("warning", hear);
    }
  });

  test("before it began", async () => {
    const { failure, machine } = await attempt(start, [OPERATIONS.create], new Machine(), {
      signal: AbortSignal.abort(),
    });
    expect(failure).toMatchObject({ code: "ABORTED" });
    // The journal's first record is all that was written.
    expect(machine.events).toBe(1);
  });
});
