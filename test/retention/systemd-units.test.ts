import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { run } from "../support/programs.ts";

const readme = await readFile(resolve(import.meta.dirname, "../../README.md"), "utf8");
const units = [...readme.matchAll(/^```systemd\n# (\S+)\n(.*?)^```$/gms)].map(([, path = "", text = ""]) => ({
  name: basename(path),
  text,
}));

test("the README's units are three, each of sections with assignments", () => {
  expect(units.map(({ name }) => name)).toEqual([
    "qcowal-prune.service",
    "qcowal-prune.timer",
    "qcowal-recover.service",
  ]);
  for (const { name, text } of units) {
    const [first, ...lines] = text.trim().split("\n");
    expect(first, name).toBe("[Unit]");
    for (const line of lines)
      expect(line, name).toMatch(/^(\[(Service|Timer|Install)\]|[A-Z][A-Za-z]+=\S.*|)$/);
  }
});

test("systemd accepts them, where it is there to be asked", async () => {
  const dir = await mkdtemp(join(tmpdir(), "qcowal-units-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  for (const { name, text } of units) await writeFile(join(dir, name), text);
  const paths = units.map(({ name }) => join(dir, name));
  const verified = await run("systemd-analyze", ["verify", "--man=no", ...paths]).catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  });
  if (verified === undefined) return;
  // It also looks at units of the machine that these name: only what it says of these counts.
  const complaints = verified.stderr.split("\n").filter((line) => line.includes("qcowal"));
  expect(complaints).toEqual([]);
});
