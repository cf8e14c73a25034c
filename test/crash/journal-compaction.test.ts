import { join, resolve } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { type Journal, openJournal } from "../../journal/index.ts";
import { record } from "../../tools/crash/real/record.ts";
import { crashStates } from "../../tools/crash/real/states.ts";
import { readTree, writeTree } from "../../tools/crash/real/tree.ts";
import { seededRandom } from "../../tools/image-maker/index.ts";
import { requireStrace } from "../kill/lab/strace.ts";
import { requireBuiltCommand } from "../support/command.ts";
import { tempDir } from "../support/qemu.ts";

beforeAll(requireStrace);
beforeAll(requireBuiltCommand);

const API = resolve(import.meta.dirname, "../../dist/journal/index.js");
const STATES = 160;
const OVER = 6;

async function transaction(journal: Journal, part: Uint8Array): Promise<void> {
  const number = await journal.begin("x", ["/a"]);
  for (let count = 0; count < 3; count += 1) await journal.part(number, part);
  await journal.prepare(number, "plan");
  await journal.commit(number);
  await journal.settle(number, "end");
}

/** The end of the last transaction is not synced when the compaction begins. */
const COMPACTION = `
  const { openJournal } = await import(${JSON.stringify(API)});
  const journal = await openJournal(process.argv[1], { create: false });
  const number = await journal.begin("x", ["/a"]);
  await journal.part(number, Buffer.alloc(5000, 1));
  await journal.prepare(number, "plan");
  await journal.commit(number);
  await journal.settle(number, "end");
  await journal.compact();
  await journal.note("after");
  await journal.close();
`;

test("power fails at any moment of a compaction, of LevelDB's as well: before it or after it, and nothing is lost", async () => {
  const dir = await tempDir();
  const home = join(dir, "home");
  writeTree(home, new Map());
  const journal = await openJournal(join(home, "journal"), { create: true });
  for (let count = 0; count < OVER; count += 1) await transaction(journal, new Uint8Array(4000).fill(count));
  const pending = await journal.begin("pending", ["/a"]);
  await journal.part(pending, "kept");
  await journal.prepare(pending, "plan");
  await journal.close();
  const start = readTree(home);
  const command = [process.execPath, "--input-type=module", "-e", COMPACTION, join(home, "journal")];
  const events = await record(command, home, join(dir, "trace"));
  const states = crashStates(home, start, events, seededRandom(20260101), { states: STATES });
  const seen = { before: 0, after: 0 };
  for (const { position, fates, tree } of states) {
    writeTree(home, tree());
    const where = `after ${position} of ${events.length} events: ${fates}`;
    await using left = await openJournal(join(home, "journal"), { create: false });
    const { dropped } = await left.verify();
    const { transactions, topics } = await left.info();
    expect(topics, where).toBe(1);
    expect(left.pending()[0], where).toMatchObject({ transaction: pending, state: "prepared" });
    for (const { transaction: number } of left.pending()) {
      const parts: unknown[] = [];
      for await (const part of left.parts(number)) parts.push(part);
      if (number === pending) expect(parts, where).toEqual(["kept"]);
    }
    const numbers: number[] = [];
    for await (const number of left.transactionsOf("/a")) numbers.push(number);
    expect(numbers, where).toHaveLength(transactions);
    expect([0, OVER * 3 + 1], where).toContain(dropped);
    if (dropped === 0) seen.before += 1;
    else seen.after += 1;
    await left.commit(pending);
    await left.verify();
  }
  expect(seen.before).toBeGreaterThan(20);
  expect(seen.after).toBeGreaterThan(20);
}, 120_000);
