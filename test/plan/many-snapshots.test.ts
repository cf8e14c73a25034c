import { expect, test } from "vitest";
import { guestOffset } from "../../src/format/index.ts";
import { type Draft, type DraftSnapshot, storedRoot } from "../../src/plan/draft.ts";
import { mostPaths } from "../../src/plan/table-weights.ts";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { applyPlan } from "../support/apply-plan.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { visible } from "../support/model.ts";
import { seededRandom } from "../support/random.ts";
import { expectEqualPlans } from "../support/simple-plan/index.ts";

const CLUSTERS = 400;
const SNAPSHOTS = 300;

/** Its first clusters in no order: some blocks of refcounts count by entry, and some in runs. */
function withSnapshots(): Uint8Array {
  const random = seededRandom(3);
  const places = Array.from({ length: CLUSTERS }, (_, at) => at).filter(
    (at) => at > 200 || random.chance(0.5),
  );
  for (let left = 150; left > 1; left -= 1) {
    const other = random.int(left);
    [places[left - 1], places[other]] = [places[other] ?? 0, places[left - 1] ?? 0];
  }
  const spec: ImageSpec = {
    version: 3,
    clusterBits: 9,
    virtualSize: CLUSTERS * 512,
    snapshots: Array.from({ length: SNAPSHOTS }, (_, index) => ({
      name: `s${index}`,
      changes: index > 0 ? [] : places.map((at) => ({ at, count: 1, kind: "data" as const, seed: at })),
    })),
    active: { changes: [] },
  };
  return makeImage(spec);
}

test("the paths to a table change by as many snapshots as come or go", () => {
  const root = (offset: number) => storedRoot({ offset, entries: 1 });
  const draft = (active: number, ...snapshots: readonly number[]): Draft => ({
    virtualSize: guestOffset(0),
    bitmaps: 0,
    active: root(active),
    snapshots: snapshots.map((offset) => ({ root: root(offset) }) as DraftSnapshot),
  });
  const before = draft(1, 2, 3, 4);
  expect(mostPaths({ before, after: before })).toBe(0);
  expect(mostPaths({ before, after: draft(1, 3) })).toBe(2);
  // A snapshot begins with the contents of the disk.
  expect(mostPaths({ before, after: draft(1, 1, 2, 3, 4) })).toBe(1);
  expect(mostPaths({ before, after: draft(2, 2, 3, 4) })).toBe(2);
});

test("snapshots that go at once lower a refcount by more than a byte holds", async () => {
  const bytes = withSnapshots();
  const disk = new MemoryDisk(bytes);
  const operations = Array.from({ length: SNAPSHOTS }, (_, index) => ({
    type: "delete" as const,
    image: disk.path,
    name: `s${index}`,
  }));
  const { plan, windows } = (await expectEqualPlans(bytes, operations)) ?? {};
  expect(windows).toBeGreaterThan(1);
  expect(plan?.summary.refcountsChanged).toBeGreaterThan(CLUSTERS / 2);
  const before = visible(bytes);
  if (plan !== undefined) await applyPlan(disk, plan);
  expect(visible(disk.bytes())).toEqual({ ...before, snapshots: [] });
});
