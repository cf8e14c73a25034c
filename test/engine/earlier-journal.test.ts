import { afterEach, expect, test, vi } from "vitest";
import { Journal } from "../../journal/index.ts";
import { unpackIntents } from "../../src/intent/index.ts";
import { makeImage } from "../../tools/image-maker/index.ts";
import { encodedAsEarlier } from "../support/earlier-encoding.ts";
import { checkImage, describeCheck } from "../support/naive-qcow2.ts";
import { newWorld, operate, recoverWorld } from "../support/world.ts";
import { OPERATIONS, PATH, SPEC, VERBS, imageOf, isFenced, lastStatus, seenIn } from "./lab.ts";

afterEach(() => vi.restoreAllMocks());

/** Has the parts of a plan written as they were before they were bytes, each for itself. Returns how many were. */
function writeAsEarlier(): () => number {
  let written = 0;
  const prepare = Reflect.get(Journal.prototype, "prepare");
  vi.spyOn(Journal.prototype, "prepare").mockImplementation(async function (
    this: Journal,
    transaction,
    plan,
    parts = [],
  ) {
    for (const body of parts) {
      const [phase, image, piece] = body as [string, number, Uint8Array];
      written += 1;
      await this.part(transaction, [phase, image, [...unpackIntents(piece)].map(encodedAsEarlier)]);
    }
    await prepare.call(this, transaction, plan);
  });
  return () => written;
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
