import { readFile } from "node:fs/promises";
import { Command } from "commander";
import { beforeAll, expect, test, vi } from "vitest";
import { addDiffCommand } from "../../src/cli/commands/diff.ts";
import { addSendCommand } from "../../src/cli/commands/send.ts";
import { receiveStream } from "../../src/index.ts";
import { naiveState } from "../export/naive-state.ts";
import { readRoot } from "../support/naive-qcow2.ts";
import { Lab, SPEC } from "./lab.ts";

beforeAll(() => vi.spyOn(process.stderr, "write").mockReturnValue(true));

/** The commands that read content, with a reader of their own. */
async function qcowal(...words: readonly string[]): Promise<string> {
  const program = new Command().exitOverride().configureOutput({ outputError: () => undefined });
  addSendCommand(program, naiveState);
  addDiffCommand(program, naiveState);
  let stdout = "";
  const spy = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    stdout += String(text);
    return true;
  });
  try {
    await program.parseAsync(words, { from: "user" });
  } finally {
    spy.mockRestore();
  }
  return stdout;
}

test("qcowal send writes a file that brings a copy to a snapshot, whatever is in the image's name", async () => {
  const lab = await Lab.open({ "a@one": SPEC });
  const image = lab.path("a@one");
  const file = lab.path("stream");
  const copy = lab.path("copy.raw");
  for (const [words, ...options] of [
    [`${image}@one`],
    [`${image}@id:2`, "--from", "one"],
    [image, "--from", "id:2"],
  ] as const) {
    await qcowal("send", words, ...options, "-o", file);
    await receiveStream(copy, file);
  }
  expect((await readFile(copy)).equals(readRoot(await readFile(image), "active"))).toBe(true);
  await expect(qcowal("send", image, "-U", "-o", file)).rejects.toThrow("only a snapshot");
  await expect(qcowal("send", `${image}@none`, "-o", file)).rejects.toMatchObject({
    code: "SNAPSHOT_NOT_FOUND",
  });
});

test("qcowal diff --content prints what really differs", async () => {
  const lab = await Lab.open();
  const parsed = JSON.parse(
    await qcowal("diff", "--content", "--json", lab.path("a.qcow2"), "one", "two"),
  ) as {
    ranges: { start: number; length: number }[];
    totals: { bytes: number };
  };
  const bytes = await lab.bytes();
  const [one, two] = [readRoot(bytes, 0), readRoot(bytes, 1)];
  let differing = 0;
  for (let at = 0; at < one.length; at += 512) {
    const isSame = Buffer.compare(one.subarray(at, at + 512), two.subarray(at, at + 512)) === 0;
    const isFound = parsed.ranges.some(({ start, length }) => start <= at && at < start + length);
    expect(isFound).toBe(!isSame);
    if (!isSame) differing += 512;
  }
  expect(parsed.totals.bytes).toBe(differing);
  expect(await qcowal("diff", "--content", lab.path("a.qcow2"), "one", "two")).toMatch(
    /^ +0x4000 +0x[0-9a-f]+\n/,
  );
  await expect(qcowal("diff", "--content", "--stat", lab.path("a.qcow2"), "one")).rejects.toThrow("--stat");
});
