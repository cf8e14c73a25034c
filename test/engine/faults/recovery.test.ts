import { describe, expect, test } from "vitest";
import { isQcowalError } from "../../../src/errors/index.ts";
import type { Operation } from "../../../src/plan/index.ts";
import { makeImage } from "../../../tools/image-maker/index.ts";
import { type Fault, Machine } from "../../support/machine.ts";
import {
  type World,
  attempt,
  attemptRecovery,
  newWorld,
  operate,
  recoverWorld,
} from "../../support/world.ts";
import { checkImage, describeCheck } from "../../support/naive-qcow2.ts";
import { CODES, OPERATIONS, PATH, SPEC, VERBS, imageOf, isFenced, seenIn } from "../lab.ts";

/** Killed when half of a step's events are over: what is pending then is not the same in any two. */
async function killedIn(start: World, operation: Operation, step: string): Promise<World> {
  const probe = new Machine();
  const begins: number[] = [];
  let found = -1;
  await attempt(start, [operation], probe, {
    onProgress: (event) => {
      if (event.step === step) found = begins.length;
      begins.push(probe.events);
    },
  });
  const from = begins[found] ?? 0;
  const to = begins[found + 1] ?? probe.events;
  return (await operate(start, [operation], from + Math.ceil((to - from) / 2) + 1)).world;
}

describe.each(VERBS)("the recovery of a %s", (verb) => {
  const start = newWorld({ [PATH]: makeImage(SPEC) });

  test.each(["reserve", "raise", "lower", "unfence"])(
    "that was killed in '%s', when any one write, sync, truncate or read fails: it can be run again",
    async (step) => {
      const killed = await killedIn(start, OPERATIONS[verb], step);
      expect(isFenced(killed)).toBe(step !== "unfence");
      const undisturbed = await recoverWorld(killed);
      const end = seenIn(imageOf(undisturbed.world));
      const { events, reads } = undisturbed.machine;
      const faults: Fault[] = [];
      for (let event = 1; event <= events; event += 1) for (const code of CODES) faults.push({ event, code });
      for (let read = 1; read <= reads; read += 1) faults.push({ read, code: "IO_FAILED" });
      let opened = 0;
      for (const fault of faults) {
        const where = JSON.stringify(fault);
        const machine = new Machine(undefined, [fault]);
        const { failure, world } = await attemptRecovery(killed, machine);
        if (isQcowalError(failure, "IO_FAILED")) {
          // The journal could not be opened, and who is pending in it is not known.
          expect(machine.events, where).toBe(0);
          opened += 1;
        } else if (failure !== undefined) expect(failure, where).toMatchObject(UNFINISHED);
        // Only a failed discard is nobody's business.
        else expect("event" in fault, where).toBe(true);
        if ("read" in fault && failure === undefined) throw new Error(`${where} was missed`);
        const again = await recoverWorld(world);
        expect(seenIn(imageOf(again.world)), where).toEqual(end);
        expect(describeCheck(checkImage(imageOf(again.world))), where).toBe("clean");
        expect(isFenced(again.world), where).toBe(false);
      }
      expect(faults.length).toBeGreaterThan(step === "unfence" ? 5 : 15);
      expect(opened).toBeLessThan(20);
    },
  );
});

/** Image, journal, transaction and reason, whatever failed. */
const UNFINISHED = {
  code: "NEEDS_RECOVERY",
  details: { path: PATH, journal: "/memory/journal", transaction: 2 },
  message: expect.stringMatching(
    /^\/memory\/a\.qcow2: (?=.*transaction 2 \(journal \/memory\/journal\))(?=.*simulated: )(?=.*'qcowal recover')/iu,
  ),
};
