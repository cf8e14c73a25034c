import { access, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { openFileDisk } from "../../src/disk/index.ts";
import { type Operation, listSnapshots, openPool } from "../../src/index.ts";
import { planFirst, runFirst } from "../../src/pool/index.ts";
import * as planner from "../../src/plan/index.ts";
import { expectClean, scratch } from "./lab.ts";
import { all } from "../support/all.ts";
import { run } from "../support/programs.ts";

vi.mock(import("../../src/plan/index.ts"), async (original) => {
  const real = await original();
  return { ...real, planImage: vi.fn(real.planImage) };
});

const names = async (path: string): Promise<string[]> => (await listSnapshots(path)).map(({ name }) => name);

const creating = (image: string): Operation[] => [{ type: "create", image, name: "new" }];

async function place(): Promise<{ readonly dir: string; readonly image: string; readonly journal: string }> {
  const dir = await scratch("a.qcow2", "b.qcow2");
  return { dir, image: join(dir, "a.qcow2"), journal: join(dir, ".qcowal") };
}

const isThere = async (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

describe("the first operation on images without a journal", () => {
  test("is planned once, carried out and recorded", async () => {
    const { image, journal } = await place();
    vi.mocked(planner.planImage).mockClear();
    const first = await planFirst(creating(image), {});
    expect(await isThere(journal)).toBe(false);
    const report = await runFirst(first, journal, {}, { reason: "why not" });
    expect(report?.images).toMatchObject([{ image, outcomes: [{ type: "create" }] }]);
    expect(planner.planImage).toHaveBeenCalledTimes(1);
    expect(await names(image)).toEqual(["one", "two", "new"]);
    await expectClean(image);
    await using pool = await openPool(journal);
    expect(await all(pool.history())).toMatchObject([{ status: "done", reason: "why not" }]);
  });

  test("leaves no journal when it is refused", async () => {
    const { image, journal } = await place();
    const wrong: Operation = { type: "revert", image, name: "none" };
    await expect(planFirst([wrong], {})).rejects.toMatchObject({ code: "SNAPSHOT_NOT_FOUND" });
    expect(await isThere(journal)).toBe(false);
    expect((await run("qemu-img", ["snapshot", "-c", "free", image])).code).toBe(0);
  });

  test("keeps writers out from the plan on, and lets them in again whatever becomes of it", async () => {
    const { image, journal } = await place();
    const qemu = () => run("qemu-img", ["snapshot", "-c", "between", image]);
    const first = await planFirst(creating(image), {});
    expect((await qemu()).stderr).toMatch(/lock/);
    await writeFile(journal, "no directory");
    await expect(runFirst(first, journal, {}, {})).rejects.toMatchObject({ name: "QcowalError" });
    expect((await qemu()).code).toBe(0);
    expect(await names(image)).toEqual(["one", "two", "between"]);
    const second = await planFirst(creating(image), {});
    await second.close();
    expect((await qemu()).code).toBe(0);
  });

  test("lets go of the images when somebody else holds the journal by now", async () => {
    const { dir, image, journal } = await place();
    const first = await planFirst(creating(image), {});
    await using pool = await openPool(journal);
    expect(await runFirst(first, journal, {}, {})).toBeUndefined();
    await pool.create(image, "theirs");
    await pool.create(join(dir, "b.qcow2"), "theirs");
    expect(await names(image)).toEqual(["one", "two", "theirs"]);
  });

  test("is planned anew when something is recorded by now, and heeds it", async () => {
    const { image, journal } = await place();
    const first = await planFirst([{ type: "delete", image, name: "one" }], {});
    {
      await using pool = await openPool(journal);
      await pool.hold(image, "one");
    }
    await expect(runFirst(first, journal, {}, {})).rejects.toMatchObject({ code: "SNAPSHOT_HELD" });
    expect(await names(image)).toEqual(["one", "two"]);
  });

  test("is refused beside a reader, who keeps what he reads", async () => {
    const { image, journal } = await place();
    const first = await planFirst(creating(image), {});
    const reader = await openFileDisk(image, "read");
    await expect(runFirst(first, journal, {}, {})).rejects.toMatchObject({ code: "IMAGE_IN_USE" });
    await reader.close();
    expect(await names(image)).toEqual(["one", "two"]);
  });

  test("is planned anew for the file that has the path by now", async () => {
    const { dir, image, journal } = await place();
    const other = join(dir, "b.qcow2");
    expect((await run("qemu-img", ["snapshot", "-d", "two", other])).code).toBe(0);
    const first = await planFirst(creating(image), {});
    await rename(image, join(dir, "old.qcow2"));
    await rename(other, image);
    expect(await runFirst(first, journal, {}, {})).toBeDefined();
    expect(await names(image)).toEqual(["one", "new"]);
    expect(await names(join(dir, "old.qcow2"))).toEqual(["one", "two"]);
    for (const path of [image, join(dir, "old.qcow2")]) await expectClean(path);
  });
});
