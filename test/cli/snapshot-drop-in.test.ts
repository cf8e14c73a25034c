import { copyFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import type { ImageSpec } from "../../tools/image-maker/index.ts";
import { requireBuiltCommand } from "../support/command.ts";
import { type Ended, run } from "../support/programs.ts";
import { qemuCheck, requireQemu } from "../support/qemu.ts";
import { Lab, SPEC } from "./lab.ts";

beforeAll(requireQemu);
beforeAll(requireBuiltCommand);

const RICH: ImageSpec = {
  ...SPEC,
  snapshots: [
    { name: "one", vmState: [{ at: 0, count: 40, kind: "data", seed: 8 }], vmClockNsec: 3_723_456_789_012n },
    { name: "zwei – ü", vmStateSize: 1_023_999, dateSec: 1_700_000_000, icount: 123_456n },
    {
      name: "a name that is longer than its column",
      id: "a-rather-long-id",
      vmClockNsec: 360_000_000_000_000n,
    },
    { name: "1", id: "9", extraSize: 16, vmStateSize: 5 },
    { name: "one", vmStateSize: 3_000_000_000, icount: 0xffff_ffff_ffff_fffen },
  ],
};

/** The same words for both programs, each on its own copy of the image. */
async function both(lab: Lab, ...args: readonly string[]): Promise<{ ours: Ended; theirs: Ended }> {
  const at = (image: string): string[] => args.map((arg) => (arg === "IMAGE" ? image : arg));
  const env = { TZ: "America/St_Johns" };
  const ours = await lab.with(env, "snapshot", ...at("a.qcow2"));
  const theirs = await run("qemu-img", ["snapshot", ...at("twin.qcow2")], { cwd: lab.dir, env });
  return { ours, theirs };
}

async function twins(spec: ImageSpec): Promise<Lab> {
  const lab = await Lab.open({ "a.qcow2": spec });
  await copyFile(lab.path("a.qcow2"), lab.path("twin.qcow2"));
  return lab;
}

/** Everything that `qemu-img info` says of the snapshots but the time at which a new one was taken. */
async function listed(lab: Lab, image: string): Promise<unknown> {
  const { stdout } = await run("qemu-img", ["info", "--output=json", image], { cwd: lab.dir });
  const { snapshots = [] } = JSON.parse(stdout) as { snapshots?: Record<string, unknown>[] };
  return snapshots.map(({ "date-nsec": _nsec, "date-sec": sec, ...rest }) => ({
    ...rest,
    date: Number(sec) > 1_750_000_000 ? "now" : sec,
  }));
}

test("-l prints byte for byte what qemu-img prints", async () => {
  const lab = await twins(RICH);
  for (const args of [
    ["-l", "IMAGE"],
    ["IMAGE", "-l"],
    ["-lU", "IMAGE"],
    ["-l", "-q", "-U", "IMAGE"],
  ]) {
    const { ours, theirs } = await both(lab, ...args);
    expect(ours).toEqual(theirs);
    expect(ours.stdout).toContain("Snapshot list:\n");
  }
});

test("list --json has the fields and values of qemu-img info --output=json", async () => {
  const lab = await twins(RICH);
  const { stdout } = await run("qemu-img", ["info", "--output=json", "twin.qcow2"], { cwd: lab.dir });
  const { snapshots } = JSON.parse(stdout) as { snapshots: unknown };
  expect(await lab.json("list", "a.qcow2")).toEqual(snapshots);
});

describe("the same words end the same way, and leave the same list:", () => {
  test.each([
    [["-c", "new", "IMAGE"]],
    [["-cnew", "IMAGE"]],
    [["-q", "-c", "one", "IMAGE"]],
    [["-c", "", "IMAGE"]],
    [["IMAGE", "-c", "new"]],
    [["-a", "zwei – ü", "IMAGE"]],
    [["-a", "a-rather-long-id", "IMAGE"]],
    [["-a", "1", "IMAGE"]],
    [["-a", "9", "IMAGE"]],
    [["-a", "one", "IMAGE"]],
    [["-a", "missing", "IMAGE"]],
    [["-d", "one", "IMAGE"]],
    [["-d", "1", "IMAGE"]],
    [["-d", "9", "IMAGE"]],
    [["-d", "missing", "IMAGE"]],
    [["IMAGE"]],
    [[]],
    [["-c"]],
    [["-c", "new"]],
    [["-l"]],
    [["-l", "-l", "IMAGE"]],
    [["-c", "x", "-d", "y", "IMAGE"]],
    [["-c", "x", "-c", "y", "IMAGE"]],
    [["-l", "IMAGE", "IMAGE"]],
    [["-c", "x", "-U", "IMAGE"]],
    [["-z", "IMAGE"]],
    [["-l", "missing.qcow2"]],
    [["-c", "x", "missing.qcow2"]],
  ])("%j", async (args) => {
    const lab = await twins(RICH);
    const { ours, theirs } = await both(lab, ...args);
    expect(ours.code, ours.stderr).toBe(theirs.code);
    expect(ours.stdout).toBe(theirs.stdout);
    expect(ours.stderr === "", ours.stderr).toBe(theirs.stderr === "");
    expect(await listed(lab, "a.qcow2")).toEqual(await listed(lab, "twin.qcow2"));
    const compared = await run("qemu-img", ["compare", "a.qcow2", "twin.qcow2"], { cwd: lab.dir });
    expect(compared.code, compared.stdout).toBe(0);
    expect((await qemuCheck(lab.path("a.qcow2"))).code).toBe(0);
  });
});
