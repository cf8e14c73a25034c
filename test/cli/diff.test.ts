import { readFile, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { requireBuiltCommand } from "../support/command.ts";
import { Lab, SPEC } from "./lab.ts";

beforeAll(requireBuiltCommand);

interface Printed {
  readonly image: string;
  readonly from: { readonly snapshot: { readonly id: string; readonly name: string } | null };
  readonly to: { readonly snapshot: unknown; readonly size: number };
  readonly ranges: readonly Record<string, unknown>[];
  readonly totals: Readonly<Record<string, number>>;
}

const CLUSTER = 4096;

describe("qcowal diff", () => {
  test("prints what differs, for people and as qemu-img map does", async () => {
    const lab = await Lab.open();
    const human = await lab.qcowal("diff", "a.qcow2", "one", "two");
    expect(human.code).toBe(0);
    const lines = human.stdout.trimEnd().split("\n");
    const parsed = await lab.json<Printed>("diff", "a.qcow2", "one", "two");
    expect(parsed).toMatchObject({
      image: lab.path("a.qcow2"),
      from: { snapshot: { id: "1", name: "one" }, size: 1 << 20 },
      to: { snapshot: { id: "2", name: "two" }, size: 1 << 20 },
    });
    expect(parsed.ranges).toHaveLength(lines.length);
    expect(parsed.ranges[0]).toEqual({
      start: 4 * CLUSTER,
      length: expect.any(Number) as number,
      depth: 0,
      present: true,
      zero: false,
      data: true,
      compressed: false,
      offset: expect.any(Number) as number,
      kind: "data",
    });
    expect(lines[0]).toMatch(/^ +0x4000 +0x[0-9a-f]+  data at 0x[0-9a-f]+$/);
    expect(parsed.totals).toMatchObject({ bytes: 30 * CLUSTER, data: 30 * CLUSTER, ranges: lines.length });
    expect(human.stderr).toBe(
      `"one" (id 1) and "two" (id 2) differ in 120 KiB of 1 MiB, ${lines.length === 1 ? "1 range" : `${lines.length} ranges`}.\n`,
    );
    const quiet = await lab.qcowal("diff", "-q", "a.qcow2", "id:1", "name:two");
    expect(quiet).toMatchObject({ code: 0, stdout: human.stdout, stderr: "" });
  });

  test("compares with the disk as it is, and prints nothing where nothing differs", async () => {
    const lab = await Lab.open();
    expect(await lab.json<Printed>("diff", "a.qcow2", "two")).toMatchObject({
      to: { snapshot: null },
      totals: { bytes: 50 * CLUSTER },
    });
    const same = await lab.qcowal("diff", "a.qcow2", "two", "two");
    expect(same).toMatchObject({ code: 0, stdout: "" });
    expect(same.stderr).toContain("do not differ");
    expect(await lab.json<Printed>("diff", "a.qcow2", "two", "two")).toMatchObject({
      ranges: [],
      totals: { ranges: 0 },
    });
  });

  test("tells what each snapshot changed", async () => {
    const lab = await Lab.open({ "a.qcow2": SPEC, "empty.qcow2": Lab.EMPTY });
    const steps = await lab.json<Printed[]>("diff", "--stat", "a.qcow2");
    expect(steps.map(({ totals }) => totals["bytes"])).toEqual([30 * CLUSTER, 50 * CLUSTER]);
    const human = await lab.qcowal("diff", "--stat", "a.qcow2");
    expect(human.stdout.split("\n").slice(0, 3)).toEqual([
      expect.stringMatching(/^FROM +TO +DIFFERS/) as string,
      expect.stringMatching(/^"one" \(id 1\) +"two" \(id 2\) +120 KiB/) as string,
      expect.stringMatching(/^"two" \(id 2\) +the disk +200 KiB/) as string,
    ]);
    expect((await lab.qcowal("diff", "--stat", "a.qcow2", "one")).stdout).toMatch(/the disk +/);
    expect(await lab.qcowal("diff", "--stat", "empty.qcow2")).toMatchObject({
      code: 0,
      stdout: "",
      stderr: "empty.qcow2 has no snapshots.\n",
    });
  });

  test("refuses with the code of the reason", async () => {
    const lab = await Lab.open();
    expect(await lab.qcowal("diff", "a.qcow2")).toMatchObject({ code: 2, stdout: "" });
    expect(await lab.qcowal("diff", "a.qcow2", "three")).toMatchObject({ code: 1, stdout: "" });
    const bytes = await readFile(lab.path("a.qcow2"));
    bytes[72] = 0x40;
    await writeFile(lab.path("a.qcow2"), bytes);
    expect(await lab.qcowal("diff", "a.qcow2", "one")).toMatchObject({ code: 6, stdout: "" });
    expect(await lab.qcowal("diff", "-U", "--stat", "a.qcow2")).toMatchObject({ code: 6, stdout: "" });
  });
});
