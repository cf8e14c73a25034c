/** A stream that is received into an image, crashed everywhere. */
import assert from "node:assert/strict";
import { describe, expect, test } from "vitest";
import { ReceivedBefore } from "../../src/export/index.ts";
import type { ExploreOptions } from "../../tools/crash/explore.ts";
import { Machine } from "../support/machine.ts";
import { visible } from "../support/model.ts";
import { attempt } from "../support/world.ts";
import { RECEIVED, type ReceivedSubject, exploreReceive, receivedSubject } from "./received-subject.ts";

/** The same command again, after whatever recovery left, ends where the stream leads. */
function again({ start, operations, openReceived, after }: ReceivedSubject) {
  const seen = new Set<string>();
  const outcomes = { before: 0, after: 0 };
  const path = operations[0].image;
  const sample: ExploreOptions["sample"] = async (_crashed, recovered) => {
    const file = recovered.images.get(path);
    assert.ok(file);
    const state = JSON.stringify(visible(file.bytes()));
    outcomes[state === JSON.stringify(visible(start)) ? "before" : "after"] += 1;
    if (seen.has(file.digest())) return;
    seen.add(file.digest());
    const { failure, world } = await attempt(recovered, operations, new Machine(), { openReceived });
    if (failure !== undefined && !(failure instanceof ReceivedBefore)) throw failure;
    const bytes = world.images.get(path)?.bytes() ?? new Uint8Array();
    assert.deepEqual(visible(bytes), after);
  };
  return { outcomes, sample };
}

describe("a receive that is crashed at any point, by a kill or a power cut,", () => {
  test.each(Object.entries(RECEIVED))(
    "leaves all as before or all as after, and ends when it is repeated: %s",
    async (_name, spec) => {
      const subject = await receivedSubject(spec);
      const { outcomes, sample } = again(subject);
      const found = await exploreReceive(subject, sample);
      expect(found.before).toBeGreaterThan(10);
      expect(found.after).toBeGreaterThan(10);
      expect(found.fenced).toBeGreaterThan(10);
      expect(outcomes.before).toBeGreaterThan(0);
      expect(outcomes.after).toBeGreaterThan(0);
    },
    120_000,
  );
});
