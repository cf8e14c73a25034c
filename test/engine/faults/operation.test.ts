import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import { isQcowalError } from "../../../src/errors/index.ts";
import { makeImage } from "../../../tools/image-maker/index.ts";
import { type Fault, Machine } from "../../kill/lab/machine.ts";
import { attempt, newWorld, operate, recoverWorld } from "../../kill/lab/world.ts";
import { checkImage, describeCheck } from "../../support/naive-qcow2.ts";
import { CODES, OPERATIONS, PATH, SPEC, VERBS, imageOf, isFenced, lastStatus, seenIn } from "../lab.ts";

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
