import { access, writeFile } from "node:fs/promises";
import { beforeAll, expect, test } from "vitest";
import { requireBuiltCommand } from "../support/command.ts";
import { Lab, SPEC } from "./lab.ts";

beforeAll(requireBuiltCommand);

test("create --auto marks, list shows it, prune removes by it and says why", async () => {
  const lab = await Lab.open();
  for (const name of ["n1", "n2", "n3"]) await lab.qcowal("create", name, "a.qcow2", "--auto");
  const listed = await lab.json<{ name: string; auto?: boolean }[]>("list", "a.qcow2");
  expect(listed.map(({ auto }) => auto)).toEqual([undefined, undefined, true, true, true]);
  expect((await lab.qcowal("list", "a.qcow2")).stdout).toMatch(
    /TAKEN.*\n1 .* - .*\n2 .* - .*\n3 .*by schedule/,
  );
  await writeFile(lab.path("p.json"), '{ "keep-last": 2, "tz": "UTC" }');
  const plan = await lab.qcowal("prune", "a.qcow2", "--policy", "p.json", "--dry-run");
  expect(plan).toMatchObject({
    code: 0,
    stderr: expect.stringContaining('would remove 1 snapshot of 5: "n1"'),
  });
  expect(plan.stdout).toMatch(
    /remove +3 +n1 .*no rule keeps it\nkeep +4 +n2 .*last 2 of 2\nkeep +5 +n3 .*last 1 of 2\n/,
  );
  expect(plan.stdout).toContain("not automatic");
  // Flags come before the file.
  const { code, stdout, stderr } = await lab.qcowal(
    "prune",
    "a.qcow2",
    "--policy",
    "p.json",
    "-l",
    "1",
    "--reason",
    "x",
  );
  expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
  expect(stderr).toMatch(/^a\.qcow2: removed 2 snapshots of 5: "n1", "n2" \[.* freed, transaction \d+\]\n$/);
  expect(await lab.names()).toEqual(["one", "two", "n3"]);
  expect(await lab.verdict()).toBe("clean");
  const report = await lab.json<{ images: { verdicts: { keep: boolean }[] }[] }>(
    "prune",
    "a.qcow2",
    "-l",
    "-1",
  );
  expect(report.images[0]?.verdicts.map(({ keep }) => keep)).toEqual([true, true, true]);
});

test("wrong rules are misuse, and where nothing goes no journal is left", async () => {
  const lab = await Lab.open();
  await writeFile(lab.path("bad.json"), '{ "keep-lst": 2 }');
  for (const [args, message] of [
    [[], /no rule says what to keep/],
    [["--keep-last", "x"], /Give a number of snapshots/],
    [["--keep-within", "1w"], /not a duration/],
    [["--keep-last", "1", "--tz", "Nowhere"], /not a time zone/],
    [["--policy", "bad.json"], /unknown field "keep-lst"/],
    [["--policy", "missing.json"], /ENOENT/],
  ] as const) {
    expect(await lab.qcowal("prune", "a.qcow2", ...args)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(message),
    });
  }
  expect(await lab.qcowal("prune", "a.qcow2", "-l", "1")).toMatchObject({
    code: 0,
    stderr: "a.qcow2: nothing to remove, 2 snapshots kept\n",
  });
  await expect(access(lab.path(".qcowal"))).rejects.toThrow(/ENOENT/);
  expect(await lab.qcowal("prune", "a.qcow2", "-l", "1", "--all")).toMatchObject({ code: 0 });
  expect(await lab.names()).toHaveLength(1);
});

test("hours and days are those of UTC wherever the machine stands, or of --tz", async () => {
  const lab = await Lab.open();
  await lab.qcowal("create", "n1", "a.qcow2", "--auto");
  const listed = await lab.json<{ "date-sec": number }[]>("list", "a.qcow2");
  const taken = (listed.at(-1)?.["date-sec"] ?? 0) * 1000;
  const hourIn = (hours: number): string =>
    `hourly 1 of 1: ${new Date(taken + hours * 3_600_000).toISOString().slice(0, 13).replace("T", " ")}h`;
  const far = { TZ: "Pacific/Kiritimati" };
  const plan = async (...args: string[]): Promise<string> =>
    (await lab.with(far, "prune", "a.qcow2", "--keep-hourly", "1", "-n", ...args)).stdout;
  expect(await plan()).toContain(hourIn(0));
  expect(await plan("--tz", "Pacific/Kiritimati")).toContain(hourIn(14));
});

test("hold keeps a snapshot from every command that deletes, list and history show it, release lets it go", async () => {
  const lab = await Lab.open();
  const held = await lab.qcowal("hold", "one", "a.qcow2", "--tag", "audit", "--reason", "until May");
  expect(held).toMatchObject({ code: 0, stderr: "a.qcow2: held one as audit\n" });
  const [one, two] = await lab.json<{ holds?: string[] }[]>("list", "a.qcow2");
  expect([one?.holds, two?.holds]).toEqual([["audit"], undefined]);
  expect((await lab.qcowal("list", "a.qcow2")).stdout).toMatch(/HELD.*\n1 .*audit/);
  expect((await lab.qcowal("history", "a.qcow2")).stdout).toMatch(/held +hold "one" \(id 1\) as audit/);
  for (const args of [
    ["delete", "one", "a.qcow2"],
    ["snapshot", "-d", "one", "a.qcow2"],
  ]) {
    expect(await lab.qcowal(...args)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /snapshot "one" \(id 1\) is held: audit by .* \("until May"\)\. Nothing was changed/,
      ),
    });
  }
  const pruned = await lab.qcowal("prune", "a.qcow2", "-l", "1", "--all", "--explain");
  expect(pruned.stdout).toMatch(/keep +1 +one .* hold/);
  expect(await lab.qcowal("delete", "one", "a.qcow2", "--dry-run")).toMatchObject({ code: 1, stdout: "" });
  expect(await lab.qcowal("release", "one", "a.qcow2")).toMatchObject({ code: 1 });
  const dry = await lab.qcowal("release", "one", "a.qcow2", "--tag", "audit", "--dry-run");
  expect(dry).toMatchObject({ code: 0, stderr: expect.stringContaining("would release one as audit") });
  expect(await lab.qcowal("release", "one", "a.qcow2", "--tag", "audit")).toMatchObject({ code: 0 });
  expect(await lab.qcowal("delete", "one", "a.qcow2")).toMatchObject({ code: 0 });
});

test("hold says in JSON what is held, and leaves no journal where it is refused or only tried", async () => {
  const lab = await Lab.open({ "a.qcow2": SPEC, "b.qcow2": SPEC });
  expect(await lab.qcowal("hold", "missing", "a.qcow2")).toMatchObject({ code: 1 });
  expect(await lab.qcowal("release", "one", "a.qcow2")).toMatchObject({ code: 1 });
  expect(await lab.qcowal("hold", "one", "a.qcow2", "--dry-run")).toMatchObject({ code: 0, stdout: "" });
  await expect(access(lab.path(".qcowal"))).rejects.toThrow(/ENOENT/);
  expect(await lab.json("hold", "id:2", "a.qcow2", "b.qcow2")).toEqual({
    dryRun: false,
    tag: "hold",
    images: ["a.qcow2", "b.qcow2"].map((name) => ({
      image: lab.path(name),
      snapshot: expect.objectContaining({ id: "2", name: "two" }) as unknown,
      transaction: expect.any(Number) as unknown,
    })),
  });
});
