import { rm, writeFile } from "node:fs/promises";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Journal, type RecordKind, openJournal } from "../../journal/index.ts";
import { RecordError, decodeRecord, encodeRecord, frameOf } from "../../journal/record.ts";
import { SimulatedStore } from "../support/simulated-store.ts";
import { fill, logKeys, open, partsOf, readLevel, scratch, states, writeLevel } from "./lab.ts";

type Content = Map<string, Uint8Array>;

async function filled(): Promise<{ content: Content; keys: string[] }> {
  const store = new SimulatedStore();
  await fill(await open(store));
  const { content } = store;
  return { content, keys: logKeys(content) };
}

/** What opening and reading everything comes to: "fine", or the code and the record of the error. */
async function verdictOf(content: Content): Promise<string> {
  try {
    const journal = await open(SimulatedStore.of(content));
    await journal.verify();
    return journal.tornTail === undefined ? "fine" : `torn tail ${journal.tornTail.sequence}`;
  } catch (error) {
    const { code, details } = error as { code?: string; details?: { sequence?: number } };
    if (code === undefined) throw error;
    return `${code} ${details?.sequence}`;
  }
}

/** Where the chain breaks at these: opening begins in the middle, and may come to the record behind one first. */
const named = (...indexes: readonly number[]): string[] =>
  indexes.flatMap((index) => [`JOURNAL_DAMAGED ${index + 1}`, `JOURNAL_DAMAGED ${index + 2}`]);

const keyOf = (sequence: number): string => sequence.toString(16).padStart(16, "0");

/** The bytes of a MessagePack field as our encoder writes them, and as others may. */
function bytesFields(bytes: Uint8Array): Buffer[] {
  const size = bytes.length;
  const heads = [
    ...(size < 0x100 ? [[0xc4, size]] : []),
    ...(size < 0x10000 ? [[0xc5, size >> 8, size & 0xff]] : []),
    [0xc6, 0, size >> 16, (size >> 8) & 0xff, size & 0xff],
    // A text, a list and an extension of that length.
    [0xdb, 0, size >> 16, (size >> 8) & 0xff, size & 0xff],
    [0xc9, 0, size >> 16, (size >> 8) & 0xff, size & 0xff, 7],
  ];
  return heads.map((head) => Buffer.concat([Buffer.from(head), bytes]));
}

test("of all ways to write down the same fields, a record is only the one of our encoder", () => {
  const previous = new Uint8Array(32).fill(3);
  for (const size of [0, 200, 226, 227, 228, 0x10000 - 30, 0x10000]) {
    const record = { sequence: 4, kind: "part", transaction: 2, time: 5, low: 2, previous } as const;
    const { value, digest } = encodeRecord({ ...record, body: new Uint8Array(size) });
    const { payload } = decodeRecord(value);
    expect(Buffer.compare(frameOf({ payload, previous, digest }), value)).toBe(0);
    const own = [
      Buffer.of(0x94),
      Buffer.of(1),
      ...[payload, previous, digest].map((bytes) => bytesFields(bytes)[0]),
    ];
    const others = [
      [Buffer.of(0xdc, 0, 4), Buffer.of(0xdd, 0, 0, 0, 4)],
      [Buffer.of(0xcc, 1), Buffer.of(0xcd, 0, 1), Buffer.of(0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0)],
      ...[payload, previous, digest].map((bytes) => bytesFields(bytes).slice(1)),
    ];
    const joined = (fields: readonly (Buffer | undefined)[]): Buffer =>
      Buffer.concat(fields.map((field) => field ?? Buffer.alloc(0)));
    expect(decodeRecord(joined(own))).toEqual(decodeRecord(value));
    for (const [place, ways] of others.entries()) {
      for (const way of ways) expect(() => decodeRecord(joined(own.with(place, way)))).toThrow(RecordError);
    }
    expect(() => decodeRecord(joined([...own, Buffer.of(0xc0)]))).toThrow(RecordError);
  }
});

describe("damage is seen and named:", () => {
  test("one bit flipped in any byte of any record", async () => {
    const { content, keys } = await filled();
    expect(await verdictOf(content)).toBe("fine");
    for (const [index, key] of keys.entries()) {
      const value = content.get(key) ?? new Uint8Array();
      const isLast = index === keys.length - 1;
      for (let at = 0; at < value.length; at += 1) {
        const edited = value.slice();
        edited[at] = (edited[at] ?? 0) ^ (1 << (at % 8));
        const verdict = await verdictOf(new Map(content).set(key, edited));
        const expected = isLast ? `torn tail ${index + 1}` : `JOURNAL_DAMAGED ${index + 1}`;
        expect(verdict, `record ${index + 1}, byte ${at}`).toBe(expected);
      }
    }
  });

  test("a record that is cut short at any length", async () => {
    const { content, keys } = await filled();
    const key = keys[4] ?? "";
    const value = content.get(key) ?? new Uint8Array();
    for (let length = 0; length < value.length; length += 1) {
      expect(await verdictOf(new Map(content).set(key, value.slice(0, length)))).toBe("JOURNAL_DAMAGED 5");
    }
    const longer = new Uint8Array([...value, 0]);
    expect(await verdictOf(new Map(content).set(key, longer))).toBe("JOURNAL_DAMAGED 5");
  });

  test("a record that is missing, wherever", async () => {
    const { content, keys } = await filled();
    for (const [index, key] of keys.slice(0, -1).entries()) {
      const without = new Map(content);
      without.delete(key);
      expect(await verdictOf(without), `without record ${index + 1}`).toBe(`JOURNAL_DAMAGED ${index + 1}`);
    }
  });

  test("any two records that changed places", async () => {
    const { content, keys } = await filled();
    for (let a = 0; a < keys.length - 1; a += 1) {
      for (let b = a + 1; b < keys.length - 1; b += 1) {
        const [first = "", second = ""] = [keys[a], keys[b]];
        const swapped = new Map(content);
        swapped.set(first, content.get(second) ?? new Uint8Array());
        swapped.set(second, content.get(first) ?? new Uint8Array());
        expect(named(a, b), `records ${a + 1} and ${b + 1}`).toContain(await verdictOf(swapped));
      }
    }
  });

  test("records of another journal, one or all that follow", async () => {
    const { content, keys } = await filled();
    const other = await filled();
    for (const [index, key] of keys.slice(1, -1).entries()) {
      const mixed = new Map(content).set(key, other.content.get(key) ?? new Uint8Array());
      expect(named(index + 1)).toContain(await verdictOf(mixed));
      const spliced = new Map([...content].filter(([at]) => at < key));
      for (const [at, value] of other.content) if (at >= key) spliced.set(at, value);
      expect(named(index + 1)).toContain(await verdictOf(spliced));
    }
  });

  test("a record that was put in behind the end, out of order", async () => {
    const { content, keys } = await filled();
    const last = content.get(keys.at(-1) ?? "") ?? new Uint8Array();
    expect(await verdictOf(new Map(content).set(keyOf(keys.length + 5), last))).toBe(
      `JOURNAL_DAMAGED ${keys.length + 4}`,
    );
  });

  test("a format that is newer than this program", async () => {
    const { content, keys } = await filled();
    const key = keys[3] ?? "";
    const value = (content.get(key) ?? new Uint8Array()).slice();
    // MessagePack: an array of four, then the format as a small integer.
    expect(value.slice(0, 2)).toEqual(Uint8Array.of(0x94, 1));
    value[1] = 2;
    const journal = await open(SimulatedStore.of(new Map(content).set(key, value)));
    await expect(journal.verify()).rejects.toThrow(/record 4 .*format 2 is newer than this program knows/);
  });
});

test("a last record that is torn was never acknowledged: it is set aside and written over", async () => {
  const { content, keys } = await filled();
  const key = keys.at(-1) ?? "";
  const torn = new Map(content).set(key, (content.get(key) ?? new Uint8Array()).slice(0, 20));
  const store = SimulatedStore.of(torn);
  const journal = await open(store);
  expect(journal.tornTail?.sequence).toBe(keys.length);
  const [pending] = journal.pending().toReversed();
  // The torn record was the commit of the last transaction.
  expect(pending?.state).toBe("prepared");
  await journal.abort(pending?.transaction ?? 0);
  const again = await open(store);
  expect(again.tornTail).toBeUndefined();
  await expect(again.verify()).resolves.toMatchObject({ records: keys.length });
});

test("a last record that a newer program has written is not torn: the journal stays shut", async () => {
  const { content, keys } = await filled();
  const last = decodeRecord(content.get(keys.at(-1) ?? "") ?? new Uint8Array());
  const { value } = encodeRecord({ ...last, kind: "tomorrow" as RecordKind });
  const newer = new Map(content).set(keys.at(-1) ?? "", value);
  await expect(open(SimulatedStore.of(newer))).rejects.toThrow(/kind tomorrow is not known to this program/);
});

describe("a gap that a power cut tore behind the last synced record", () => {
  /** Two transactions; the second was on its way to be prepared. */
  async function torn(
    gaps: readonly number[],
  ): Promise<{ store: SimulatedStore; first: number; next: number }> {
    const store = new SimulatedStore();
    const journal = await open(store);
    const first = await journal.begin("first");
    await journal.prepare(first, "plan");
    await journal.commit(first);
    await journal.settle(first);
    const next = await journal.begin("second");
    await journal.part(next, "part");
    await journal.prepare(next, "plan");
    const { content } = store;
    for (const gap of gaps) content.delete(keyOf(gap));
    return { store: SimulatedStore.of(content), first, next };
  }

  test("is no damage, whatever of it is lost: what was acknowledged is there", async () => {
    for (const gaps of [[5], [6], [7], [5, 6], [5, 7], [6, 7], [5, 6, 7]]) {
      const { store, first } = await torn(gaps);
      const journal = await open(store);
      expect(journal.tornTail).toMatchObject({ sequence: gaps[0], last: 8 });
      expect(states(journal)).toEqual(
        gaps[0] === 5 ? { [first]: "committed" } : gaps[0] === 6 ? {} : { 6: "begun" },
      );
      await journal.verify();
    }
  });

  test("is filled by the next append, which takes away for good what was behind it", async () => {
    const { store } = await torn([6]);
    const journal = await open(store);
    await journal.begin("third");
    expect(store.synced).toBe(store.puts);
    const again = await open(store);
    expect(again.tornTail).toBeUndefined();
    await expect(again.verify()).resolves.toMatchObject({ records: 6 });
    expect([...store.content.keys()]).not.toContain(keyOf(8));
  });

  test("is damage when it swallowed a prepare that was acknowledged, as the commit behind it shows", async () => {
    const store = new SimulatedStore();
    const journal = await open(store);
    const transaction = await journal.begin("first");
    await journal.prepare(transaction, "plan");
    await journal.commit(transaction);
    const { content } = store;
    content.delete(keyOf(3));
    expect(await verdictOf(content)).toBe("JOURNAL_DAMAGED 3");
  });
});

describe("on LevelDB", () => {
  async function damagedLevel(edit: (content: Content) => void): Promise<string> {
    const dir = await scratch();
    const journal = await openJournal(dir, { create: true });
    await fill(journal);
    await journal.close();
    const content = await readLevel(dir);
    edit(content);
    await writeLevel(dir, content);
    return dir;
  }

  test("a missing record is an error that names it, and nothing is repaired", async () => {
    const dir = await damagedLevel((content) => void content.delete(keyOf(5)));
    await using journal = await openJournal(dir, { create: false });
    await expect(journal.verify()).rejects.toMatchObject({
      code: "JOURNAL_DAMAGED",
      details: { sequence: 5 },
      message: expect.stringContaining("record 5 is missing"),
    });
    expect((await journal.verify().catch(() => undefined)) ?? "still damaged").toBe("still damaged");
  });

  test("damage under a pending transaction keeps the journal shut", async () => {
    const dir = await damagedLevel((content) => {
      const key = logKeys(content).at(-3) ?? "";
      (content.get(key) ?? new Uint8Array())[30] = 0xff;
    });
    const opening: Promise<Journal> = openJournal(dir, { create: false });
    await expect(opening).rejects.toMatchObject({ code: "JOURNAL_DAMAGED" });
    // The failed opening let go of it: the next one says the same, not "in use".
    await expect(openJournal(dir, { create: false, waitMs: 0 })).rejects.toMatchObject({
      code: "JOURNAL_DAMAGED",
    });
  });

  test.each([
    ["CURRENT names nothing", "CURRENT", "MANIFEST-999999\n"],
    ["CURRENT is garbage", "CURRENT", "garbage"],
    ["the manifest is garbage", "MANIFEST", "garbage garbage garbage"],
  ])("%s: an error, and no file is touched", async (_what, file, text) => {
    const dir = await scratch();
    const journal = await openJournal(dir, { create: true });
    const { committed } = await fill(journal);
    expect(await partsOf(journal, committed ?? 0)).toHaveLength(2);
    expect(Object.keys(states(journal))).toHaveLength(3);
    await journal.close();
    const level = join(dir, "leveldb");
    const names = await readdir(level);
    const name = names.find((candidate) => candidate.startsWith(file)) ?? "";
    await rm(join(level, name));
    await writeFile(join(level, name), text);
    await expect(openJournal(dir, { create: true })).rejects.toMatchObject({
      name: "QcowalError",
      code: expect.stringMatching(/JOURNAL_DAMAGED|IO_FAILED/),
    });
    const kept = await readdir(level);
    for (const data of names.filter((candidate) => /\.(log|ldb)$/.test(candidate))) {
      expect(kept).toContain(data);
    }
  });
});
