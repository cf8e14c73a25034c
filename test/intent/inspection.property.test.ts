import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { QcowalError } from "../../src/errors/index.ts";
import { type ByteRange, type Inspection, applyIntent, inspectIntent } from "../../src/intent/index.ts";
import { contains, coveredRanges } from "../support/covered-bytes.ts";
import { MemoryDisk } from "../support/memory-disk.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { KINDS, type OnDisk, randomIntent } from "./random-intent.ts";

const seeds = fc.integer({ min: 0, max: 2 ** 31 - 1 });
const RUNS = { numRuns: 150 };
const SECTOR = 512;

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

async function after({ intent, before }: OnDisk, bytes?: Uint8Array): Promise<Uint8Array> {
  const disk = new MemoryDisk(before);
  // Of a long fill the journal has only the digest: the bytes were on disk before.
  if (bytes !== undefined && intent.kind === "fill") await disk.write(intent.offset, bytes);
  await applyIntent(disk, intent);
  return disk.bytes();
}

const inspect = ({ intent }: OnDisk, bytes: Uint8Array): Promise<Inspection> =>
  inspectIntent(new MemoryDisk(bytes), intent);

/** The first sectors as after it, the others as before. */
function torn(before: Uint8Array, done: Uint8Array, sectors: number): Uint8Array {
  const mixed = before.slice();
  mixed.set(done.subarray(0, sectors * SECTOR));
  return mixed;
}

function coveredByte(random: Random, { intent }: OnDisk): number {
  const { offset, length } = random.pick(coveredRanges(intent));
  return offset + random.int(length);
}

const rangeOf = (inspection: Inspection): ByteRange | undefined =>
  "range" in inspection ? inspection.range : undefined;

/** Bytes of the entries that lie in the byte at `at`. */
function entryAround(block: number, order: number, at: number): ByteRange {
  const bytes = Math.max(1, 2 ** order / 8);
  return { offset: at - ((at - block) % bytes), length: bytes };
}

/** Values that the covered entries in a byte of narrow refcounts may have: it is one of them in each entry. */
function isMixtureOfEntries(onDisk: OnDisk, done: Uint8Array, at: number, byte: number): boolean {
  const { intent, before } = onDisk;
  if (intent.kind !== "refcount" || intent.order >= 3) return false;
  const width = 2 ** intent.order;
  const base = (at - intent.block) * 8;
  for (let bit = 0; bit < 8; bit += width) {
    const entry = (base + bit) / width;
    const isCovered = intent.runs.some(([first, count]) => first <= entry && entry < first + count);
    const mask = ((1 << width) - 1) << bit;
    const found = byte & mask;
    if (isCovered && found !== ((before[at] ?? 0) & mask) && found !== ((done[at] ?? 0) & mask)) return false;
  }
  return true;
}

describe.each(KINDS.filter((kind) => kind !== "fill"))("a random intent: %s", (kind) => {
  test("shows before, after, and at every sector what a torn write left", async () => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const onDisk = randomIntent(seededRandom(seed), kind);
        const { before } = onDisk;
        const done = await after(onDisk);
        for (let sectors = 0; sectors <= before.length / SECTOR; sectors += 1) {
          const mixed = torn(before, done, sectors);
          const state = sameBytes(mixed, done) ? "after" : sameBytes(mixed, before) ? "before" : "torn";
          // What can be written again need not be told apart: a fill of which a part is there is not there.
          const expected = kind === "short fill" && state === "torn" ? "before" : state;
          expect(await inspect(onDisk, mixed), `${sectors} sectors`).toEqual({ state: expected });
        }
      }),
      RUNS,
    );
  });
});

describe("one changed byte under a random intent is foreign:", () => {
  test("refcount: in exactly the entry, unless that is another state of the transaction", async () => {
    let unseen = 0;
    await fc.assert(
      fc.asyncProperty(seeds, fc.nat(), fc.integer({ min: 1, max: 255 }), async (seed, sectors, flip) => {
        const random = seededRandom(seed);
        const onDisk = randomIntent(random, "refcount");
        const { intent, before } = onDisk;
        if (intent.kind !== "refcount") return;
        const done = await after(onDisk);
        const bytes = torn(before, done, sectors % (before.length / SECTOR));
        const at = coveredByte(random, onDisk);
        const byte = (bytes[at] ?? 0) ^ flip;
        bytes[at] = byte;
        const entry = entryAround(intent.block, intent.order, at);
        const shown = bytes.subarray(entry.offset, entry.offset + entry.length);
        const isOther = [before, done].some((state) =>
          sameBytes(shown, state.subarray(entry.offset, entry.offset + entry.length)),
        );
        const inspection = await inspect(onDisk, bytes);
        if (isOther || isMixtureOfEntries(onDisk, done, at, byte)) {
          unseen += 1;
          expect(["before", "after", "torn"]).toContain(inspection.state);
        } else expect(inspection).toEqual({ state: "foreign", range: entry });
      }),
      { numRuns: 500 },
    );
    expect(unseen).toBeGreaterThan(0);
  });

  test("refcount: of several the first, with those that follow it", async () => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const random = seededRandom(seed);
        const onDisk = randomIntent(random, "refcount");
        const { intent, before: bytes } = onDisk;
        if (intent.kind !== "refcount" || intent.order < 3) return;
        const size = 2 ** intent.order / 8;
        const [first, count, from, to] = random.pick(intent.runs);
        const foreign = [from, to].includes(77) ? 78 : 77;
        const length = 1 + random.int(count);
        for (const start of [first, ...(first + length + 1 < first + count ? [first + length + 1] : [])]) {
          const end = start === first ? first + length : start + 1;
          for (let entry = start; entry < end; entry += 1) {
            const at = intent.block + entry * size;
            bytes.fill(0, at, at + size);
            bytes[at + size - 1] = foreign;
          }
        }
        expect(await inspect(onDisk, bytes)).toEqual({
          state: "foreign",
          range: { offset: intent.block + first * size, length: length * size },
        });
      }),
      RUNS,
    );
  });

  test("copied: somewhere in the table, unless it is a COPIED flag", async () => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.nat(), fc.integer({ min: 1, max: 255 }), async (seed, sectors, flip) => {
        const random = seededRandom(seed);
        const onDisk = randomIntent(random, "copied");
        const { intent, before } = onDisk;
        if (intent.kind !== "copied") return;
        const bytes = torn(before, await after(onDisk), sectors % (before.length / SECTOR));
        const at = coveredByte(random, onDisk);
        bytes[at] = (bytes[at] ?? 0) ^ flip;
        const inspection = await inspect(onDisk, bytes);
        const isFlag = (at - intent.table) % intent.entrySize === 0 && flip === 0x80;
        if (isFlag) expect(["before", "after", "torn"]).toContain(inspection.state);
        else {
          const range = { offset: intent.table, length: intent.length };
          expect(inspection).toEqual({ state: "foreign", range });
        }
      }),
      { numRuns: 500 },
    );
  });

  test("pointer: in its slot", async () => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.boolean(), fc.integer({ min: 1, max: 255 }), async (seed, applied, flip) => {
        const random = seededRandom(seed);
        const onDisk = randomIntent(random, "pointer");
        const { intent, before } = onDisk;
        if (intent.kind !== "pointer") return;
        const done = await after(onDisk);
        const bytes = (applied ? done : before).slice();
        const at = coveredByte(random, onDisk);
        bytes[at] = (bytes[at] ?? 0) ^ flip;
        const isOther = sameBytes(bytes, applied ? before : done);
        const state = applied ? "before" : "after";
        expect(await inspect(onDisk, bytes)).toEqual(
          isOther ? { state } : { state: "foreign", range: { offset: intent.slot, length: 8 } },
        );
      }),
      RUNS,
    );
  });

  test("zero: in its entry", async () => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.nat(), fc.integer({ min: 1, max: 255 }), async (seed, sectors, flip) => {
        const random = seededRandom(seed);
        const onDisk = randomIntent(random, "zero");
        const { intent, before } = onDisk;
        if (intent.kind !== "zero") return;
        const done = await after(onDisk);
        const bytes = torn(before, done, sectors % (before.length / SECTOR));
        const at = coveredByte(random, onDisk);
        bytes[at] = (bytes[at] ?? 0) ^ flip;
        const offset = at - ((at - intent.table) % 8);
        const shown = bytes.subarray(offset, offset + 8);
        const isOther = [before, done].some((state) => sameBytes(shown, state.subarray(offset, offset + 8)));
        const inspection = await inspect(onDisk, bytes);
        if (isOther) expect(inspection.state).not.toBe("foreign");
        else expect(inspection).toEqual({ state: "foreign", range: { offset, length: 8 } });
      }),
      RUNS,
    );
  });

  test("header: exactly that byte, or where it is half of a change those that change in its sector", async () => {
    let halves = 0;
    await fc.assert(
      fc.asyncProperty(seeds, fc.nat(), fc.integer({ min: 1, max: 255 }), async (seed, sectors, flip) => {
        const random = seededRandom(seed);
        const onDisk = randomIntent(random, "header");
        const { before } = onDisk;
        const done = await after(onDisk);
        const bytes = torn(before, done, sectors % 4);
        const at = coveredByte(random, onDisk);
        // Half of the changes to what the other state has there.
        const other = bytes[at] === before[at] ? done[at] : before[at];
        const byte = random.chance(0.5) ? (other ?? 0) : (bytes[at] ?? 0) ^ flip;
        fc.pre(byte !== bytes[at]);
        bytes[at] = byte;
        const start = at - (at % SECTOR);
        const sector = [start, start + SECTOR] as const;
        const inspection = await inspect(onDisk, bytes);
        if ([before, done].some((state) => sameBytes(bytes.subarray(...sector), state.subarray(...sector)))) {
          expect(inspection.state).not.toBe("foreign");
        } else if (byte !== before[at] && byte !== done[at]) {
          expect(inspection).toEqual({ state: "foreign", range: { offset: at, length: 1 } });
        } else {
          halves += 1;
          const changes = [...before.keys()].filter(
            (index) => index >= start && index < start + SECTOR && before[index] !== done[index],
          );
          const offset = changes[0] ?? 0;
          const range = { offset, length: (changes.at(-1) ?? 0) + 1 - offset };
          expect(inspection).toEqual({ state: "foreign", range });
          expect(contains(range, at)).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
    expect(halves).toBeGreaterThan(0);
  });

  test("fill: somewhere in it when only its digest is logged, never when it can be written again", async () => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.boolean(), fc.integer({ min: 1, max: 255 }), async (seed, short, flip) => {
        const random = seededRandom(seed);
        const onDisk = randomIntent(random, short ? "short fill" : "fill");
        const { intent } = onDisk;
        if (intent.kind !== "fill") return;
        // The contents again, from the same seed.
        const bytes = await after(onDisk, short ? undefined : contentsOf(seed));
        expect(await inspect(onDisk, bytes)).toEqual({ state: "after" });
        const at = coveredByte(random, onDisk);
        bytes[at] = (bytes[at] ?? 0) ^ flip;
        expect(await inspect(onDisk, bytes)).toEqual(
          short
            ? { state: "before" }
            : { state: "foreign", range: { offset: intent.offset, length: intent.length } },
        );
      }),
      RUNS,
    );
  });
});

/** What a long fill of this seed was made from: the generator is asked in the same order. */
function contentsOf(seed: number): Uint8Array {
  const random = seededRandom(seed);
  const skipped = 16 * 1024;
  for (let index = 0; index < skipped; index += 1) random.int(256);
  const length = 4097 + random.int(4000);
  return Uint8Array.from({ length }, () => random.int(256));
}

describe.each(KINDS)("of a random intent: %s", (kind) => {
  test("a byte that it does not cover says nothing", async () => {
    await fc.assert(
      fc.asyncProperty(seeds, fc.nat(), async (seed, place) => {
        const onDisk = randomIntent(seededRandom(seed), kind);
        const done = await after(onDisk, kind === "fill" ? contentsOf(seed) : undefined);
        const at = place % done.length;
        fc.pre(!coveredRanges(onDisk.intent).some((range) => contains(range, at)));
        done[at] = (done[at] ?? 0) ^ 0xff;
        expect(await inspect(onDisk, done)).toEqual({ state: "after" });
      }),
      RUNS,
    );
  });

  test("bytes that cannot be read are told from foreign ones, and named", async () => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const random = seededRandom(seed);
        const onDisk = randomIntent(random, kind);
        const at = coveredByte(random, onDisk);
        const disk = new MemoryDisk(await after(onDisk, kind === "fill" ? contentsOf(seed) : undefined));
        const cause = new QcowalError("IO_FAILED", "a bad sector");
        const inspection = await inspectIntent(
          {
            read: async (offset, target) => {
              if (contains({ offset, length: target.length }, at)) throw cause;
              return disk.read(offset, target);
            },
          },
          onDisk.intent,
        );
        expect(inspection).toMatchObject({ state: "unreadable", cause });
        const range = rangeOf(inspection);
        expect(range !== undefined && contains(range, at)).toBe(true);
      }),
      { numRuns: 100 },
    );
  });
});
