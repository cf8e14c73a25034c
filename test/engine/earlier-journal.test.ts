import { afterEach, expect, test, vi } from "vitest";
import { Journal } from "../../journal/index.ts";
import { unpackIntents } from "../../src/intent/index.ts";
import { makeImage } from "../../tools/image-maker/index.ts";
import { encodedAsEarlier } from "../support/earlier-encoding.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";
import { newWorld, operate, recoverWorld } from "../support/world.ts";
import { OPERATIONS, PATH, SPEC, VERBS, imageOf, isFenced, lastStatus, seenIn } from "./lab.ts";

afterEach(() => vi.restoreAllMocks());

/** Has the parts of a plan written as they were before they were bytes. Returns how many were. */
function writeAsEarlier(): () => number {
  let parts = 0;
  const part = Reflect.get(Journal.prototype, "part");
  vi.spyOn(Journal.prototype, "part").mockImplementation(async function (this: Journal, transaction, body) {
    const [phase, image, piece] = body as [string, number, Uint8Array];
    parts += 1;
    await part.call(this, transaction, [phase, image, [...unpackIntents(piece)].map(encodedAsEarlier)]);
  });
  return () => parts;
}

test.each(VERBS)(
  "a %s that an earlier journal holds is finished or undone, wherever it was killed",
  async (verb) => {
    const start = newWorld({ [PATH]: makeImage(SPEC) });
    const operation = OPERATIONS[verb];
    const parts = writeAsEarlier();
    const whole = await operate(start, [operation]);
    expect(parts()).toBeGreaterThan(1);
    const ends = [seenIn(imageOf(start)), seenIn(imageOf(whole.world))];
    const statuses = new Set<string>();
    for (let event = 1; event < whole.machine.events; event += 1) {
      const killed = await operate(start, [operation], event);
      const { world } = await recoverWorld(killed.world);
      const status = await lastStatus(world);
      statuses.add(status);
      expect(isFenced(world)).toBe(false);
      expect(describeCheck(checkImage(imageOf(world)))).toBe("clean");
      const end = ends[status.startsWith("finished") ? 1 : 0];
      expect(seenIn(imageOf(world)), status).toEqual(end);
    }
    expect([...statuses].toSorted()).toEqual(["aborted by recovery", "finished by recovery", "none"]);
  },
);
