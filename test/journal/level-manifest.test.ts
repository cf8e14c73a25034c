import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { Level } from "level";
import { describe, expect, onTestFinished, test } from "vitest";
import { openJournal, readJournal } from "../../journal/index.ts";
import { crc32c } from "../../journal/crc32c.ts";
import { lengthBeforeLostEdit, tablesIn } from "../../journal/level-manifest.ts";
import { mendManifest } from "../../journal/mend-manifest.ts";
import { scratch } from "./lab.ts";

const MIB = 1024 * 1024;

/** LevelDB's log format, written from its description. */
function manifest(edits: readonly Uint8Array[]): Uint8Array {
  const out: Uint8Array[] = [];
  let at = 0;
  const put = (bytes: Uint8Array): void => {
    out.push(bytes);
    at += bytes.length;
  };
  for (const edit of edits) {
    for (let from = 0, first = true; first || from < edit.length; first = false) {
      if (32_768 - (at % 32_768) < 7) put(new Uint8Array(32_768 - (at % 32_768)));
      const room = 32_768 - (at % 32_768) - 7;
      const piece = edit.subarray(from, from + room);
      const isLast = from + piece.length === edit.length;
      const type = first ? (isLast ? 1 : 2) : isLast ? 4 : 3;
      const body = Uint8Array.of(type, ...piece);
      const checksum = crc32c(body);
      const masked = (((checksum >>> 15) | (checksum << 17)) + 0xa282ead8) >>> 0;
      const head = Buffer.alloc(6);
      head.writeUInt32LE(masked);
      head.writeUInt16LE(piece.length, 4);
      put(head);
      put(body);
      from += piece.length;
    }
  }
  return new Uint8Array(Buffer.concat(out));
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  return [...bytes, rest];
}

const key = (length: number): number[] => [...varint(length), ...Array.from({ length }, () => 0x61)];
const added = (number: number): number[] => [
  7,
  ...varint(2),
  ...varint(number),
  ...varint(4 * MIB),
  ...key(24),
  ...key(24),
];
const deleted = (number: number): number[] => [6, ...varint(1), ...varint(number)];

test("the checksum is that of the standard", () => {
  expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
});

describe("the tables that a MANIFEST names", () => {
  test("are found over the borders of blocks, in one large edit and in many, whatever is cut off", () => {
    const numbers = Array.from({ length: 3_000 }, (_, index) => index * 7 + 5);
    const expected = [13, ...numbers.filter((number) => number % 3 !== 0)].toSorted((a, b) => a - b);
    const all = Uint8Array.from([
      1,
      ...key(26),
      2,
      ...varint(9_000_000_000),
      9,
      0,
      ...numbers.flatMap(added),
    ]);
    const away = numbers
      .filter((number) => number % 3 === 0)
      .map((number) => Uint8Array.from(deleted(number)));
    const moved = Uint8Array.from([5, 1, ...key(9), ...added(13), ...deleted(13), 3, 99, 4, 7]);
    const one = manifest([all, ...away, moved]);
    const many = manifest([
      ...numbers.map((number) => Uint8Array.from([...added(number), 3, ...varint(number + 1)])),
      ...away,
      moved,
    ]);
    expect(one.length).toBeGreaterThan(3 * 32_768);
    for (const file of [one, many]) expect([...tablesIn(file)].toSorted((a, b) => a - b)).toEqual(expected);
    for (let length = 0; length < many.length; length += 997) {
      expect(tablesIn(many.subarray(0, length)).size).toBeLessThanOrEqual(numbers.length);
    }
    expect(() => tablesIn(manifest([Uint8Array.of(77)]))).toThrow(RangeError);
    expect(() => tablesIn(manifest([Uint8Array.of(7, 0x80)]))).toThrow(RangeError);
  });
});

/**
 * A journal of three openings, closed: each made a table of the log of the one
 * before, and all have entries of the index in the same range.
 */
async function grown(): Promise<{ dir: string; level: string; head: string }> {
  const dir = await scratch();
  let head = "";
  for (let opening = 0; opening < 3; opening += 1) {
    const journal = await openJournal(dir, { create: true });
    for (let count = 0; count < 4; count += 1) {
      const number = await journal.begin("x", ["/a"]);
      await journal.part(number, "intents");
      await journal.prepare(number, "plan");
      await journal.commit(number);
      await journal.settle(number, "end");
    }
    head = journal.head.digest;
    await journal.close();
  }
  return { dir, level: join(dir, "leveldb"), head };
}

const manifestOf = async (level: string): Promise<string> =>
  join(level, (await readFile(join(level, "CURRENT"), "utf8")).trim());

/** A database as it is while LevelDB writes the edit of a compaction: what it was made of before is there, too. */
interface Moment {
  readonly dir: string;
  readonly level: string;
  readonly head: string;
  readonly manifest: string;
  readonly content: Buffer;
  /** Where the edit begins. */
  readonly start: number;
  readonly newTables: readonly string[];
  /** Back to that moment, with another MANIFEST. */
  readonly reset: (manifest: Uint8Array) => Promise<void>;
}

async function whileCompacting(): Promise<Moment> {
  const { dir, level, head } = await grown();
  const saved = await scratch();
  const database = new Level(level) as Level & { compactRange(from: string, to: string): Promise<void> };
  await database.open();
  await cp(level, saved, { recursive: true });
  const old = await readdir(level);
  const manifest = await manifestOf(level);
  const { length: before } = await readFile(manifest);
  await database.compactRange("!", "~");
  const content = await readFile(manifest);
  const added = (await readdir(level)).filter((name) => !old.includes(name));
  for (const name of added) await cp(join(level, name), join(saved, name));
  await database.close();
  // One edit for the log that it begins first, and one for the tables; all in the first block.
  let start = before;
  const endOf = (at: number): number => at + 7 + content.readUInt16LE(at + 4);
  while (endOf(start) < content.length) start = endOf(start);
  expect(endOf(start)).toBe(content.length);
  const newTables = added.filter((name) => name.endsWith(".ldb"));
  expect(newTables.length).toBeGreaterThan(0);
  const reset = async (bytes: Uint8Array): Promise<void> => {
    await rm(level, { recursive: true });
    await cp(saved, level, { recursive: true });
    await writeFile(manifest, bytes);
  };
  return { dir, level, head, manifest, content, start, newTables, reset };
}

async function expectWhole({ dir, head }: Pick<Moment, "dir" | "head">, what: string): Promise<void> {
  {
    await using reader = await readJournal(dir);
    expect((await reader.verify()).head, `${what}, beside it`).toBe(head);
  }
  await using journal = await openJournal(dir, { create: false });
  expect((await journal.verify()).head, what).toBe(head);
}

describe("a MANIFEST whose last edit a power cut", () => {
  test("tore anywhere in its middle, is gone on with from the edit before", async () => {
    const moment = await whileCompacting();
    const { content, start, level } = moment;
    const cuts = Array.from(
      { length: 24 },
      (_, index) => start + Math.floor((index * (content.length - start)) / 24),
    );
    for (const cut of cuts) {
      const torn = Buffer.from(content);
      torn.fill(0, cut);
      await moment.reset(torn);
      await expectWhole(moment, `zeros from ${cut}`);
      const late = Buffer.from(content);
      late.fill(0, start, cut);
      await moment.reset(late);
      await expectWhole(moment, `zeros up to ${cut}`);
    }
    expect(
      lengthBeforeLostEdit(Buffer.concat([content.subarray(0, start), Buffer.of(1, 2, 3)]), []),
    ).toBeUndefined();
    expect((await readdir(level)).length).toBeGreaterThan(3);
  });

  test("left without the table that it names, is gone on with from the edit before", async () => {
    const moment = await whileCompacting();
    await moment.reset(moment.content);
    for (const name of moment.newTables) await rm(join(moment.level, name));
    expect(lengthBeforeLostEdit(moment.content, await readdir(moment.level))).toBeLessThan(
      moment.content.length,
    );
    await expectWhole(moment, "without the new table");
  });

  test("tore, where what it replaces is gone: that was no power cut, and nothing is changed", async () => {
    const moment = await whileCompacting();
    const torn = Buffer.from(moment.content);
    torn.fill(0, torn.length - 20);
    await moment.reset(torn);
    const [first = 0] = tablesIn(torn.subarray(0, moment.start));
    const gone = `${String(first).padStart(6, "0")}.ldb`;
    await rm(join(moment.level, gone));
    await expect(openJournal(moment.dir, { create: false })).rejects.toMatchObject({
      code: "JOURNAL_DAMAGED",
    });
    expect((await readFile(moment.manifest)).equals(torn)).toBe(true);
    const files = await readdir(moment.level);
    expect(lengthBeforeLostEdit(torn, [...files, gone])).toBe(moment.start);
    const logs = files.filter((name) => name.endsWith(".log"));
    const withoutLogs = [...files, gone].filter((name) => !logs.includes(name));
    expect(lengthBeforeLostEdit(torn, withoutLogs)).toBeUndefined();
  });
});

test("a MANIFEST that is damaged before its last edit is left as it is", async () => {
  const moment = await whileCompacting();
  const { start, content } = moment;
  await moment.reset(content);
  const files = await readdir(moment.level);
  for (let at = 0; at < start; at += 1) {
    const damaged = Buffer.from(content);
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    expect(lengthBeforeLostEdit(damaged, files), `byte ${at}`).toBeUndefined();
  }
  const damaged = Buffer.from(content);
  damaged[20] = (damaged[20] ?? 0) ^ 1;
  await moment.reset(damaged);
  await expect(openJournal(moment.dir, { create: false })).rejects.toMatchObject({ code: "JOURNAL_DAMAGED" });
  expect((await readFile(moment.manifest)).equals(damaged)).toBe(true);
});

test("a MANIFEST that is whole is left as it is, and so is one that somebody holds", async () => {
  const { level, dir } = await grown();
  const path = await manifestOf(level);
  const content = await readFile(path);
  expect(lengthBeforeLostEdit(content, await readdir(level))).toBeUndefined();
  expect(await mendManifest(level)).toBe(false);
  const holder = await held(dir);
  const current = await manifestOf(level);
  const whole = await readFile(current);
  const torn = Buffer.concat([whole, Buffer.alloc(20, 7)]);
  await writeFile(current, torn);
  expect(lengthBeforeLostEdit(torn, await readdir(level))).toBe(whole.length);
  // It may be in the middle of writing that.
  expect(await mendManifest(level)).toBe(false);
  await expect(openJournal(dir, { create: false, waitMs: 0 })).rejects.toMatchObject({
    code: "JOURNAL_IN_USE",
  });
  expect((await readFile(current)).equals(torn)).toBe(true);
  holder.kill("SIGKILL");
  await once(holder, "exit");
  expect(await mendManifest(level)).toBe(true);
  expect((await readFile(current)).equals(whole)).toBe(true);
});

async function held(dir: string): Promise<ChildProcess> {
  const script = resolve(import.meta.dirname, "holder.ts");
  const holder = spawn(process.execPath, ["--import", "tsx", script, dir, "60000"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void holder.kill("SIGKILL"));
  await once(holder.stdout, "data");
  return holder;
}
