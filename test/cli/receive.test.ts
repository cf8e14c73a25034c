import { readFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { Receiver, States } from "../export/stream-lab.ts";
import { cli, requireBuiltCommand } from "../support/command.ts";
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
