import { expect, test } from "vitest";
import { qcowal } from "../support/in-process.ts";

test("every command of the help is there when it is the only one that is described", async () => {
  const [, list = ""] = (await qcowal("--help")).stdout.split("Commands:\n");
  const names = [...list.matchAll(/^ {2}([a-z]+)/gm)].map(([, name = ""]) => name);
  expect(names.length).toBeGreaterThan(25);
  for (const name of names) {
    const { code, stdout } = await qcowal(name, "--help");
    expect([code, stdout]).toEqual([0, expect.stringContaining(`Usage: qcowal ${name} `)]);
  }
});
