import { beforeAll, describe, expect, test } from "vitest";
import { requireBuiltCommand } from "../support/command.ts";
import { Lab } from "./lab.ts";

beforeAll(requireBuiltCommand);

async function used(): Promise<Lab> {
  const lab = await Lab.open();
  for (const name of ["three", "four", "five"]) await lab.qcowal("create", name, "a.qcow2");
  return lab;
}

interface Info {
  readonly size: number;
  readonly oldest: string;
  readonly intents: { readonly transactions: number };
  readonly compacted: { readonly last?: string };
}

describe("qcowal journal", () => {
  test("info says what the journal holds, to people and to programs", async () => {
    const lab = await used();
    const { code, stdout, stderr } = await lab.qcowal("journal", "info");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^transactions +3 on 1 image$/m);
    expect(stdout).toMatch(/^pending +none$/m);
    expect(stdout).toMatch(/^compacted +never$/m);
    const info = await lab.json<Info>("journal", "info");
    expect(info).toMatchObject({ journal: lab.path(".qcowal"), transactions: 3, topics: 1, pending: 0 });
    expect(new Date(info.oldest).toISOString()).toBe(info.oldest);
    expect(info.size).toBeGreaterThan(0);
  });

  test("compact drops what it said it would, and the history stays", async () => {
    const lab = await used();
    const history = await lab.json<unknown>("history", "a.qcow2");
    const dry = await lab.qcowal("journal", "compact", "--keep", "1", "--dry-run");
    expect(dry).toMatchObject({ code: 0, stdout: "" });
    expect(dry.stderr).toMatch(/^would drop the intents of 2 transactions \(\d+ records, .*B\)/);
    expect((await lab.json<Info>("journal", "info")).intents.transactions).toBe(3);
    const young = await lab.qcowal("journal", "compact", "--older-than", "30d");
    expect(young).toMatchObject({ code: 0, stderr: "Nothing to drop.\n" });
    const { code, stderr } = await lab.qcowal("journal", "compact", "--keep", "1", "--reason", "space");
    expect(code).toBe(0);
    expect(stderr).toMatch(/^dropped the intents of 2 transactions/);
    const info = await lab.json<Info>("journal", "info");
    expect(info.intents.transactions).toBe(1);
    expect(info.compacted.last).toBeDefined();
    const rest = await lab.json<object>("journal", "compact", "--older-than", "0h");
    expect(rest).toMatchObject({ dryRun: false, transactions: 1 });
    expect(await lab.json<unknown>("history", "a.qcow2")).toEqual(history);
  });

  test("refuses what it does not understand, and a journal that is not there", async () => {
    const lab = await Lab.open();
    for (const args of [
      ["--keep", "-1"],
      ["--keep", "many"],
      ["--older-than", "30"],
      ["--older-than", "soon"],
    ]) {
      expect(await lab.qcowal("journal", "compact", ...args)).toMatchObject({ code: 2, stdout: "" });
    }
    for (const command of ["info", "compact"]) {
      const missing = await lab.qcowal("journal", command);
      expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining("there is no journal") });
    }
  });
});
