/** What others do to an image between the decision of a prune and its lock. */
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { listSnapshots } from "../../src/index.ts";
import { must } from "../support/programs.ts";
import { expectClean, poolIn, scratch } from "./lab.ts";

const afterList = vi.hoisted(() => ({ run: undefined as (() => Promise<unknown>) | undefined }));

vi.mock("../../src/pool/list-snapshots.ts", async (original) => {
  const real = await original<typeof import("../../src/pool/list-snapshots.ts")>();
  return {
    ...real,
    listSnapshots: async (...args: Parameters<typeof real.listSnapshots>) => {
      const found = await real.listSnapshots(...args);
      const { run } = afterList;
      afterList.run = undefined;
      await run?.();
      return found;
    },
  };
});

test("prune does not delete a snapshot that got the id of the one that was to go", async () => {
  const dir = await scratch("a.qcow2");
  const image = join(dir, "a.qcow2");
  const pool = await poolIn(dir);
  await pool.create(image, "monthly", { auto: true });
  await pool.create(image, "nightly", { auto: true });
  const before = await listSnapshots(image);
  const id = before.at(-1)?.id;
  afterList.run = async () => {
    await must("qemu-img", ["snapshot", "-d", "nightly", image]);
    await must("qemu-img", ["snapshot", "-c", "precious", image]);
  };
  const { failed } = await pool.prune([image], { keepName: ["monthly"] });
  expect(failed).toMatchObject([{ error: { code: "SNAPSHOT_NOT_FOUND" } }]);
  expect(failed[0]?.error.message).toContain("others changed snapshot");
  expect((await listSnapshots(image)).at(-1)).toMatchObject({ id, name: "precious" });
  await expectClean(image);
  await pool.close();
});
