import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import { isQcowalError } from "../../../src/errors/index.ts";
import { makeImage } from "../../../tools/image-maker/index.ts";
import { type Fault, Machine } from "../../support/machine.ts";
import { type World, attempt, newWorld, operate, recoverWorld } from "../../support/world.ts";
import type { DiskEvent } from "../../support/memory-disk.ts";
import { checkImage, describeCheck } from "../../support/naive-qcow2.ts";
import { CODES, OPERATIONS, PATH, SPEC, VERBS, imageOf, isFenced, lastStatus, seenIn } from "../lab.ts";

/** Who has to recover what, for a program and for a person. */
const NEEDS_RECOVERY = {
  code: "NEEDS_RECOVERY",
  details: { path: PATH, journal: "/memory/journal", transaction: 2 },
  message: expect.stringMatching(
    /^\/memory\/a\.qcow2: .*simulated.*\(transaction 2, journal \/memory\/journal\)/,
  ),
};

const logOf = (world: World): readonly DiskEvent[] => world.images.get(PATH)?.log ?? [];

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

  test("any one read: nothing changed while it plans, and from the decision on recovery finishes it", async () => {
    const before = imageOf(start);
    const probe = new Machine();
    let opened = 0;
    await attempt(start, operations, probe, {
      onProgress: ({ step }) => {
        if (step === "recover") opened = probe.reads;
      },
    });
    const seen = new Set<string>();
    for (let read = 1; read <= probe.reads; read += 1) {
      const machine = new Machine(undefined, [{ read, code: "IO_FAILED" }]);
      const { failure, world } = await attempt(start, operations, machine);
      const where = `read ${read}`;
      if (!isQcowalError(failure)) throw new Error(`${where} was not missed`, { cause: failure });
      seen.add(failure.code);
      if (failure.code === "IO_FAILED") {
        expect(Buffer.compare(imageOf(world), before), where).toBe(0);
        // That of a journal being opened is judged with the real one.
        if (read > opened) expect(failure.message).toContain("Nothing was changed");
      } else expect(failure, where).toMatchObject(NEEDS_RECOVERY);
      const recovered = await recoverWorld(world);
      expect(describeCheck(checkImage(imageOf(recovered.world))), where).toBe("clean");
      expect(isFenced(recovered.world), where).toBe(false);
    }
    expect(seen).toEqual(new Set(["IO_FAILED", "NEEDS_RECOVERY"]));
  });

  test("a sync: nothing reaches that disk any more, and recovery ends it", async () => {
    const { machine, world } = await operate(start, operations);
    const all = logOf(world);
    let syncs = 0;
    for (let event = 1; event <= machine.events; event += 1) {
      const done = logOf((await operate(start, operations, event)).world).length;
      const next = logOf((await operate(start, operations, event + 1)).world).length;
      if (next === done || all[done]?.type !== "sync") continue;
      syncs += 1;
      const failing = new Machine(undefined, [{ event, code: "IO_FAILED" }]);
      const failed = await attempt(start, operations, failing);
      expect(failed.failure, `event ${event}`).toMatchObject(NEEDS_RECOVERY);
      expect(logOf(failed.world), `event ${event}`).toEqual(all.slice(0, done));
      await recoverWorld(failed.world);
    }
    // Fence, reserve, raise, switch, lower, unfence; an operation may have nothing to do in one of them.
    expect(syncs).toBeGreaterThanOrEqual(5);
  });
});
