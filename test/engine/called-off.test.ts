import { describe, expect, test } from "vitest";
import { makeImage } from "../../tools/image-maker/index.ts";
import { Machine } from "../kill/lab/machine.ts";
import { attempt, newWorld } from "../kill/lab/world.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";
import { OPERATIONS, PATH, SPEC, VERBS, imageOf, lastStatus } from "./lab.ts";

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
