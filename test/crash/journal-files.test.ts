import { join, resolve } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { openJournal } from "../../journal/index.ts";
import { record } from "../../tools/crash/real/record.ts";
import { cutEverythingPending } from "../../tools/crash/real/states.ts";
import { readTree, writeTree } from "../../tools/crash/real/tree.ts";
import { requireStrace } from "../kill/lab/strace.ts";
import { requireBuiltCommand } from "../support/command.ts";
import { tempDir } from "../support/qemu.ts";

beforeAll(requireStrace);
beforeAll(requireBuiltCommand);

const API = resolve(import.meta.dirname, "../../dist/journal/index.js");

/** So much that LevelDB begins another log within the transaction, whose directory entry it does not sync. */
const LONG_PLAN = `
  const { openJournal } = await import(${JSON.stringify(API)});
  const journal = await openJournal(process.argv[1], { create: true });
  const transaction = await journal.begin("begun");
  for (let part = 0; part < 5; part++) await journal.part(transaction, Buffer.alloc(1 << 20, part));
  await journal.prepare(transaction, "plan");
  process.kill(process.pid, "SIGKILL");
`;

test("an acknowledged record survives the loss of everything that was not synced, in whichever log it is", async () => {
  const dir = await tempDir();
  const home = join(dir, "home");
  writeTree(home, new Map());
  const command = [process.execPath, "--input-type=module", "-e", LONG_PLAN, join(home, "journal")];
  const events = await record(command, home, join(dir, "trace"), "SIGKILL");
  expect([...readTree(home).keys()].filter((path) => path.endsWith(".log")).length).toBeGreaterThan(0);
  writeTree(home, cutEverythingPending(home, new Map(), events));
  await using journal = await openJournal(join(home, "journal"), { create: false });
  expect(journal.pending()).toMatchObject([{ state: "prepared", prepared: "plan" }]);
  await journal.verify();
});
