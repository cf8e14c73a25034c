import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { Receiver, States } from "../export/stream-lab.ts";
import { cli, requireBuiltCommand } from "../support/command.ts";
import { inspectImage, readRoot } from "../support/naive-qcow2.ts";
import { run } from "../support/programs.ts";

beforeAll(requireBuiltCommand);

const states = new States();

async function qcowal(receiver: Receiver, ...args: string[]): Promise<Awaited<ReturnType<typeof run>>> {
  const [program = "", ...rest] = cli(...args);
  return run(program, rest, { cwd: receiver.dir });
}

describe("qcowal receive", () => {
  test("makes a raw copy and brings it forward, from a file and from a pipe", async () => {
    const receiver = await Receiver.at();
    await receiver.save(await states.stream(undefined, 0), "full");
    await receiver.save(await states.stream(0, 1), "next");
    const made = await qcowal(receiver, "receive", "web.raw", "full");
    expect(made).toMatchObject({ code: 0, stdout: "" });
    expect(made.stderr).toMatch(/^web\.raw stands at "day 0": .* in \d+ records? written\.\n$/);
    const piped = await run("sh", ["-c", `"$@" < next`, "sh", ...cli("receive", "web.raw", "-", "--json")], {
      cwd: receiver.dir,
    });
    expect(piped.code, piped.stderr).toBe(0);
    expect(JSON.parse(piped.stdout)).toMatchObject({
      target: receiver.target,
      result: "applied",
      from: { snapshot: { name: "day 0" } },
      to: { snapshot: { name: "day 1" } },
    });
    expect((await readFile(receiver.target)).equals(states.content(1))).toBe(true);
    const again = await qcowal(receiver, "receive", "web.raw", "next");
    expect(again).toMatchObject({ code: 0, stderr: expect.stringContaining("already") as string });
  });

  test("makes a qcow2 copy and brings it forward with its snapshots, and says so in the history", async () => {
    const receiver = await Receiver.at();
    await receiver.save(await states.stream(undefined, 0), "full");
    await receiver.save(await states.stream(0, 1), "next");
    await receiver.save(await states.stream(1, 2), "last");
    const said = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await qcowal(receiver, "receive", ...args);
      expect(code, stderr).toBe(0);
      expect(stdout).toBe("");
      return stderr;
    };
    expect(await said("web.qcow2", "full")).toMatch(
      /"day 0": .* written, kept as snapshot "day 0" \[transaction \d+\]\.\n$/,
    );
    expect(await said("web.qcow2", "next", "--reason", "nightly")).toMatch(
      /"day 1": .* changed, kept as snapshot "day 1" \[transaction \d+\]\.\n$/,
    );
    expect(await said("web.qcow2", "next")).toMatch(/already\. Nothing was changed\.\n$/);
    expect(await said("web.qcow2", "last", "--no-snapshot")).toMatch(/"day 2": .* changed \[transaction/);
    const bytes = await readFile(join(receiver.dir, "web.qcow2"));
    expect(Buffer.compare(readRoot(bytes, "active"), states.content(2))).toBe(0);
    expect(inspectImage(bytes).snapshots.map(({ name }) => name)).toEqual(["day 0", "day 1"]);
    const history = await qcowal(receiver, "history", "web.qcow2", "--operation", "receive");
    expect(history.stdout).toMatch(/receive "day 1" since "day 0" .* "nightly"/);
    expect(history.stdout).toMatch(/receive "day 2" since "day 1"/);
    const undo = await qcowal(receiver, "undo", "web.qcow2");
    expect(undo).toMatchObject({ code: 1, stderr: expect.stringMatching(/received a stream/) as string });
  });

  test("says in a dry run what it would do, verifies all that it can, and writes nothing", async () => {
    const receiver = await Receiver.at();
    await receiver.save(await states.stream(undefined, 0), "full");
    await receiver.save(await states.stream(0, 1), "next");
    const dry = async (...args: string[]): Promise<string> => {
      const names = await readdir(receiver.dir);
      const { code, stdout, stderr } = await qcowal(receiver, "receive", ...args, "--dry-run");
      expect(code, stderr).toBe(0);
      expect(stderr).toBe("Nothing was changed: this was a dry run.\n");
      expect(await readdir(receiver.dir)).toEqual(names);
      return stdout;
    };
    expect(await dry("web.raw", "full")).toMatch(
      /^web\.raw:\n  would be made of the full stream of "day 0" of \/vms\/web\.qcow2, disk size 2\.73 MiB\n  \S+ KiB of data and .* of zeros in \d+ records\n$/,
    );
    expect(await dry("web.qcow2", "full")).toMatch(
      /would be kept as snapshot "day 0"\n.*\n  \d+ clusters to allocate, 0 clusters to free \(64 KiB each\)\n  the file grows/,
    );
    expect(await qcowal(receiver, "receive", "web.qcow2", "full", "-q")).toMatchObject({ code: 0 });
    expect(await dry("web.qcow2", "full")).toBe('web.qcow2:\n  stands already at "day 0"\n');
    expect(await dry("web.qcow2", "next", "--no-snapshot")).toMatch(
      /^web\.qcow2:\n  would be brought from "day 0" to "day 1" of \/vms\/web\.qcow2, disk size 2\.73 MiB\n.* of data and .* of zeros in \d+ records\n.* COPIED/,
    );
    const report: unknown = JSON.parse(await dry("web.qcow2", "next", "--json"));
    expect(report).toMatchObject({
      dryRun: true,
      result: "applied",
      kept: "day 1",
      transaction: null,
      plan: { summary: { clusterSize: 65536 }, outcomes: [{ type: "receive" }, { type: "create" }] },
    });
    const bytes = await readFile(join(receiver.dir, "next"));
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 100) ^ 1, bytes.length - 100);
    await receiver.save(bytes, "torn");
    for (const stream of ["torn", "full2"]) {
      if (stream === "full2") await receiver.save(await states.stream(1, 2), stream);
      const refused = await qcowal(receiver, "receive", "web.qcow2", stream, "-n");
      expect(refused).toMatchObject({ code: 1, stdout: "" });
      expect(refused.stderr).toContain("Nothing was changed");
    }
  });

  test("takes the format that it is told, and nothing that does not go with it", async () => {
    const receiver = await Receiver.at();
    await receiver.save(await states.stream(undefined, 0), "full");
    await receiver.save(await states.stream(0, 1), "next");
    expect(await qcowal(receiver, "receive", "disk", "full", "--format", "qcow2")).toMatchObject({ code: 0 });
    expect(await qcowal(receiver, "receive", "disk", "next")).toMatchObject({ code: 0 });
    const bytes = await readFile(join(receiver.dir, "disk"));
    expect(Buffer.compare(readRoot(bytes, "active"), states.content(1))).toBe(0);
    expect(await qcowal(receiver, "receive", "raw.qcow2", "full", "--format", "raw")).toMatchObject({
      code: 0,
    });
    expect(Buffer.compare(await readFile(join(receiver.dir, "raw.qcow2")), states.content(0))).toBe(0);
    expect(await qcowal(receiver, "receive", "web.raw", "full", "--snapshot", "x")).toMatchObject({
      code: 2,
    });
    const missing = await qcowal(receiver, "receive", "no.qcow2", "next");
    expect(missing).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/receive a full stream/) as string,
    });
    expect(await receiver.leftovers()).toEqual([".qcowal"]);
  });

  test("refuses with the code of the reason", async () => {
    const receiver = await Receiver.at(states.content(2));
    await receiver.save(await states.stream(0, 1), "next");
    expect(await qcowal(receiver, "receive", "web.raw")).toMatchObject({ code: 2 });
    const { code, stderr } = await qcowal(receiver, "receive", "web.raw", "next", "--json");
    expect(code).toBe(1);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: "TARGET_MISMATCH" } });
    expect((await readFile(receiver.target)).equals(states.content(2))).toBe(true);
  });
});
