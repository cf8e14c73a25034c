import { beforeAll, describe, expect, test } from "vitest";
import { openJournal, readJournal } from "../../journal/index.ts";
import { SimulatedStore } from "../support/simulated-store.ts";
import { fill, open, readLevel, recordsIn, scratch, writeLevel } from "./lab.ts";

type Content = ReadonlyMap<string, Uint8Array>;

const keyOf = (sequence: number): string => sequence.toString(16).padStart(16, "0");

/** The records of a small journal with everything in it, as they are stored, and what `head` said of them. */
let values: readonly Uint8Array[] = [];
let heads: readonly string[] = [];

/** Records with the numbers of their places. */
const numbered = (list: readonly Uint8Array[]): Content =>
  new Map(list.map((value, index) => [keyOf(index + 1), value]));

beforeAll(async () => {
  const store = new SimulatedStore();
  const journal = await open(store);
  await fill(journal);
  const seen: string[] = [];
  for await (const { digest } of journal.records()) seen.push(Buffer.from(digest).toString("hex"));
  heads = seen;
  values = recordsIn(store.content).map(([, value]) => value);
  expect(values.length).toBeGreaterThan(20);
});

/** What 'verify' says of a store: "whole", "torn N", or the damaged record. */
async function verdictOf(content: Content, head?: string): Promise<string> {
  try {
    const journal = await open(SimulatedStore.of(content));
    await journal.verify(head === undefined ? {} : { head });
    return journal.tornTail === undefined ? "whole" : `torn ${journal.tornTail.sequence}`;
  } catch (error) {
    const { code, details } = error as { code?: string; details?: { sequence?: number } };
    if (code !== "JOURNAL_DAMAGED") throw error;
    return `damaged ${details?.sequence}`;
  }
}

const last = (): string => heads.at(-1) ?? "";

/** Damage that the chain itself shows: everywhere but at its end, where 'verify' calls it torn. */
async function expectSeen(what: string, content: Content): Promise<void> {
  expect(await verdictOf(content), what).toMatch(/^(damaged|torn) \d+$/);
  expect(await verdictOf(content, last()), `${what}, with the head`).toMatch(/^damaged \d+$/);
}

describe("a journal as it was written", () => {
  test("is whole, and every digest that was its head is known, with what came since", async () => {
    const journal = await open(SimulatedStore.of(numbered(values)));
    expect(journal.head).toEqual({ sequence: values.length, digest: last() });
    for (const [index, head] of heads.entries()) {
      expect(await journal.verify({ head: head.toUpperCase() })).toEqual({
        records: values.length,
        dropped: 0,
        sequence: values.length,
        head: last(),
        known: { sequence: index + 1, since: values.length - index - 1 },
      });
    }
  });

  test("does not know a digest that it never had; what is no digest is misuse", async () => {
    const journal = await open(SimulatedStore.of(numbered(values)));
    const head = "0".repeat(64);
    await expect(journal.verify({ head })).rejects.toMatchObject({
      code: "JOURNAL_DAMAGED",
      details: { expected: head, found: last(), sequence: values.length },
    });
    for (const wrong of ["", "12", "g".repeat(64), `${head}0`]) {
      await expect(journal.verify({ head: wrong })).rejects.toThrow(TypeError);
    }
  });
});

describe("is seen with and without a head that was kept:", () => {
  test.each([
    ["all bits", () => 0xff],
    ["one bit", (at: number) => 1 << ((at * 5) % 8)],
  ])("any byte of any record with %s turned over", async (_what, mask) => {
    for (const [index, value] of values.entries()) {
      for (let at = 0; at < value.length; at += 1) {
        const edited = value.slice();
        edited[at] = (edited[at] ?? 0) ^ mask(at);
        const content = new Map(numbered(values)).set(keyOf(index + 1), edited);
        const isLast = index === values.length - 1;
        const named = `${isLast ? "torn" : "damaged"} ${index + 1}`;
        expect(await verdictOf(content), `record ${index + 1}, byte ${at}`).toBe(named);
        // The whole chain before a torn end is well: only the head tells that there was more.
        if (isLast) expect(await verdictOf(content, last())).toBe(`damaged ${index}`);
      }
    }
  });

  test("any record removed, whether its place stays empty or the others move up", async () => {
    for (const index of values.keys()) {
      if (index === values.length - 1) continue;
      const holed = new Map(numbered(values));
      holed.delete(keyOf(index + 1));
      await expectSeen(`without record ${index + 1}`, holed);
      await expectSeen(`record ${index + 1} closed up`, numbered(values.toSpliced(index, 1)));
    }
  });

  test("any two records in each other's places", async () => {
    for (let a = 0; a < values.length; a += 1) {
      for (let b = a + 1; b < values.length; b += 1) {
        const swapped = values.with(a, values[b] ?? new Uint8Array()).with(b, values[a] ?? new Uint8Array());
        await expectSeen(`records ${a + 1} and ${b + 1}`, numbered(swapped));
      }
    }
  });

  test("any record twice: behind itself, at the end, or in the place of another", async () => {
    for (const [index, value] of values.entries()) {
      if (index < values.length - 1) {
        await expectSeen(`record ${index + 1} behind itself`, numbered(values.toSpliced(index, 0, value)));
      }
      for (const place of values.keys()) {
        if (place !== index)
          await expectSeen(`${index + 1} at ${place + 1}`, numbered(values.with(place, value)));
      }
      const appended = numbered([...values, value]);
      // What stands behind the end is torn: the head that was kept is there all the same.
      expect(await verdictOf(appended)).toBe(`torn ${values.length + 1}`);
      expect(await verdictOf(appended, last())).toBe(`torn ${values.length + 1}`);
    }
  });

  test("a record that was written anew, with a digest of its own", async () => {
    // Two journals with the same number of records, each whole: one record of the other has a digest that fits itself.
    const store = new SimulatedStore();
    await fill(await open(store));
    const other = recordsIn(store.content).map(([, value]) => value);
    for (const index of values.keys()) {
      const forged = values.with(index, other[index] ?? new Uint8Array());
      // The last one of all has nobody behind it to contradict it, only the one before.
      expect(await verdictOf(numbered(forged)), `record ${index + 1}`).toMatch(/^damaged/);
    }
  });
});

test("records cut off at the end are what the chain alone cannot show, and a head that was kept does", async () => {
  for (let length = 1; length < values.length; length += 1) {
    const cut = numbered(values.slice(0, length));
    expect(await verdictOf(cut)).toBe("whole");
    for (const [index, head] of heads.entries()) {
      expect(await verdictOf(cut, head), `${length} left, head of ${index + 1}`).toBe(
        index < length ? "whole" : `damaged ${length}`,
      );
    }
  }
});

test("what is named has the digests in its details, beside the holder as well", async () => {
  const dir = await scratch();
  const journal = await openJournal(dir, { create: true });
  await fill(journal);
  const digests: string[] = [];
  for await (const { digest } of journal.records()) digests.push(Buffer.from(digest).toString("hex"));
  await journal.close();
  const content = await readLevel(dir);
  const edited = (content.get(keyOf(5)) ?? new Uint8Array()).slice();
  edited[12] = (edited[12] ?? 0) ^ 1;
  await writeLevel(dir, new Map(content).set(keyOf(5), edited));
  {
    await using reader = await readJournal(dir);
    await expect(reader.verify()).rejects.toMatchObject({
      code: "JOURNAL_DAMAGED",
      details: {
        journal: dir,
        sequence: 5,
        expected: digests[4],
        found: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
    });
  }
  content.delete(keyOf(5));
  await writeLevel(dir, content);
  await using reader = await readJournal(dir);
  await expect(reader.verify()).rejects.toMatchObject({
    details: { sequence: 5, expected: digests[4] },
    message: expect.stringContaining(`record 5 is missing; its digest was ${digests[4]}`),
  });
});
