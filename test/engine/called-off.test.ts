import { describe, expect, test } from "vitest";
import { makeImage } from "../../tools/image-maker/index.ts";
import { type EventType, Machine } from "../support/machine.ts";
import { attempt, newWorld, operate, recoverWorld } from "../support/world.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";
import { OPERATIONS, PATH, SPEC, VERBS, imageOf, lastStatus } from "./lab.ts";

/** A process that tells of what it begins, so that something can happen meanwhile. */
class Watched extends Machine {
  readonly #onEvent: (count: number) => void;
  readonly #onRead: (count: number) => void;

  constructor(onEvent: (count: number) => void, onRead: (count: number) => void = () => undefined) {
    super();
    this.#onEvent = onEvent;
    this.#onRead = onRead;
  }

  override event(type: EventType): void {
    super.event(type);
    this.#onEvent(this.events);
  }

  override read(): void {
    super.read();
    this.#onRead(this.reads);
  }
}

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
          expect(["none", "failed", "called off"]).toContain(await lastStatus(world));
        } else {
          expect(failure, step).toBeUndefined();
          expect(await lastStatus(world), step).toBe("done");
        }
        expect(describeCheck(checkImage(imageOf(world)))).toBe("clean");
      }
    },
  );

  test.each(VERBS)("%s by a listener that throws at any step: its error, or a warning", async (verb) => {
    const before = imageOf(start);
    const steps: string[] = [];
    await attempt(start, [OPERATIONS[verb]], new Machine(), { onProgress: ({ step }) => steps.push(step) });
    const warnings: string[] = [];
    const hear = (warning: Error): void => void warnings.push(warning.message);
    process.on("warning", hear);
    try {
      for (const [index, step] of steps.entries()) {
        let count = 0;
        const { failure, world } = await attempt(start, [OPERATIONS[verb]], new Machine(), {
          onProgress: () => {
            if (count++ === index) throw new RangeError(step);
          },
        });
        if (index <= steps.indexOf("commit")) {
          expect(failure, step).toEqual(new RangeError(step));
          expect(Buffer.compare(imageOf(world), before), step).toBe(0);
        } else {
          expect(failure, step).toBeUndefined();
          expect(await lastStatus(world), step).toBe("done");
        }
        expect(describeCheck(checkImage(imageOf(world)))).toBe("clean");
      }
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
      expect(warnings).toEqual(steps.slice(steps.indexOf("commit") + 1));
    } finally {
      process.off("warning", hear);
    }
  });

  test("by a listener that throws when it hears of a recovery: that is done, and nothing else", async () => {
    const killed = (await operate(start, [OPERATIONS.revert], 12)).world;
    const { failure, world } = await attempt(killed, [OPERATIONS.create], new Machine(), {
      onProgress: ({ recovered }) => {
        if (recovered !== undefined) throw new RangeError("no more");
      },
    });
    expect(failure).toEqual(new RangeError("no more"));
    const recovered = imageOf((await recoverWorld(killed)).world);
    expect(Buffer.compare(imageOf(world), recovered)).toBe(0);
  });

  test.each(VERBS)("%s while any event before the decision is under way: nothing changed", async (verb) => {
    const before = imageOf(start);
    const probe = new Machine();
    const ends: Record<string, number> = {};
    await attempt(start, [OPERATIONS[verb]], probe, {
      onProgress: ({ step }) => (ends[step] = probe.events),
    });
    const decided = ends["commit"] ?? 0;
    for (let event = 1; event <= decided + 1; event += 1) {
      const controller = new AbortController();
      const machine = new Watched((count) => {
        if (count === event) controller.abort("enough");
      });
      const { signal } = controller;
      const { failure, world } = await attempt(start, [OPERATIONS[verb]], machine, { signal });
      const where = `event ${event} of ${decided}`;
      if (event > decided) {
        expect(failure, where).toBeUndefined();
        continue;
      }
      expect(failure, where).toMatchObject({ code: "ABORTED", cause: "enough" });
      expect(Buffer.compare(imageOf(world), before), where).toBe(0);
      expect(describeCheck(checkImage(imageOf(world)))).toBe("clean");
      // Between the parts of a plan too: behind the one under way comes only the record of the abort.
      if (event < (ends["fence"] ?? 0)) expect(machine.events, where).toBeLessThanOrEqual(event + 1);
    }
  });

  test.each(VERBS)("%s while any table is read for its plan: no other is read", async (verb) => {
    const probe = new Machine();
    let planned = 0;
    await attempt(start, [OPERATIONS[verb]], probe, {
      onProgress: ({ step }) => {
        if (step === "prepare") planned = probe.reads;
      },
    });
    expect(planned).toBeGreaterThan(10);
    for (let read = 1; read <= planned; read += 1) {
      const controller = new AbortController();
      const machine = new Watched(
        () => undefined,
        (count) => {
          if (count === read) controller.abort("enough");
        },
      );
      const { signal } = controller;
      const { failure, world } = await attempt(start, [OPERATIONS[verb]], machine, { signal });
      expect(failure, `read ${read}`).toMatchObject({ code: "ABORTED" });
      expect(Buffer.compare(imageOf(world), imageOf(start))).toBe(0);
      // The head of an image is a few reads in one go.
      expect(machine.reads - read, `read ${read}`).toBeLessThanOrEqual(8);
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
