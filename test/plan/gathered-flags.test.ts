import { expect, test } from "vitest";
import { readImage } from "../../src/image/index.ts";
import type { CopiedIntent, Intent } from "../../src/intent/index.ts";
import { planImage } from "../../src/plan/index.ts";
import { makeImage } from "../../tools/image-maker/index.ts";
import { NOW } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { seededRandom } from "../support/random.ts";

const CLUSTERS = 1200;

/** Host clusters in no order, so that every table leads into every window of 256 clusters. */
function inNoOrder(isInSnapshot: boolean): Uint8Array {
  const random = seededRandom(7);
  const places = Array.from({ length: CLUSTERS }, (_, at) => at);
  for (let left = CLUSTERS; left > 1; left -= 1) {
    const other = random.int(left);
    [places[left - 1], places[other]] = [places[other] ?? 0, places[left - 1] ?? 0];
  }
  const changes = places.map((at) => ({ at, count: 1, kind: "data" as const, seed: at }));
  return makeImage({
    version: 3,
    clusterBits: 9,
    virtualSize: CLUSTERS * 512,
    snapshots: isInSnapshot ? [{ name: "one", changes }] : [],
    active: { changes: isInSnapshot ? [] : changes },
  });
}

const copiedIn = (intents: Iterable<Intent>): CopiedIntent[] =>
  [...intents].filter((intent) => intent.kind === "copied");

test("in many windows of refcounts, the flags of a table are told at once, in no more runs than in one", async () => {
  for (const type of ["create", "delete"] as const) {
    const image = await readImage(new MemoryDisk(inNoOrder(type === "delete")));
    const operation = { type, image: image.disk.path, name: "one" };
    const whole = await planImage(image, [operation], { now: NOW });
    const windowed = await planImage(image, [operation], { now: NOW, windowBytes: 1 });
    for (const phase of ["raise", "lower"] as const) {
      const flags = copiedIn(windowed.phases[phase]).toSorted((a, b) => a.table - b.table);
      expect(flags).toEqual(copiedIn(whole.phases[phase]));
      if ((phase === "raise") === (type === "create")) expect(flags.length).toBeGreaterThan(CLUSTERS / 64);
    }
  }
});
