import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { access, readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openJournal } from "../../journal/index.ts";
import { scratch, states } from "./lab.ts";

const ROOT = resolve(import.meta.dirname, "../..");

/** Starts a process that has the journal when this returns. */
async function holder(dir: string, milliseconds: number): Promise<ChildProcess> {
  const script = join(import.meta.dirname, "holder.ts");
  const child = spawn(process.execPath, ["--import", "tsx", script, dir, String(milliseconds)], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  await once(child.stdout, "data");
  return child;
}

const ME = { host: hostname(), pid: process.pid, program: "waiter" };

test("a second process waits as long as it was told, then hears who holds the journal", async () => {
  const dir = await scratch();
  const child = await holder(dir, 60_000);
  const started = performance.now();
  const error: unknown = await openJournal(dir, { create: true, waitMs: 400, holder: ME }).catch(
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({
    code: "JOURNAL_IN_USE",
    message: expect.stringContaining(`process ${child.pid} (holder) on ${hostname()}`),
  });
  expect(performance.now() - started).toBeGreaterThan(250);
});

test("a second process has it as soon as the first lets go", async () => {
  const dir = await scratch();
  await holder(dir, 500);
  await using journal = await openJournal(dir, { create: true, waitMs: 30_000, holder: ME });
  expect(states(journal)).toEqual({ 2: "begun" });
  expect(JSON.parse(await readFile(join(dir, "holder.json"), "utf8"))).toMatchObject({ pid: process.pid });
});

test("a killed process holds nothing, and its hint is not believed", async () => {
  const dir = await scratch();
  const child = await holder(dir, 60_000);
  child.kill("SIGKILL");
  await once(child, "exit");
  await expect(access(join(dir, "holder.json"))).resolves.toBeUndefined();
  const journal = await openJournal(dir, { create: true, waitMs: 0 });
  expect(states(journal)).toEqual({ 2: "begun" });
  // We left no hint ourselves, so the dead one's is still there: nobody may be told of it.
  await expect(openJournal(dir, { create: true, waitMs: 0, holder: ME })).rejects.toMatchObject({
    code: "JOURNAL_IN_USE",
    message: expect.not.stringContaining(String(child.pid)),
  });
  await journal.close();
});
