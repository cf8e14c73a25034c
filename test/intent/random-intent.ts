import type { BytePatch } from "../../src/format/index.ts";
import {
  type EntryRun,
  type Intent,
  type RefcountRun,
  type ZeroedEntry,
  copiedChecksum,
  decodeIntent,
  encodeIntent,
  fill,
} from "../../src/intent/index.ts";
import type { Random } from "../support/random.ts";

export const KINDS = ["fill", "short fill", "refcount", "copied", "pointer", "header", "zero"] as const;
export type IntentChoice = (typeof KINDS)[number];

const FILE_BYTES = 16 * 1024;
const TABLE = 4096;

export interface OnDisk {
  readonly intent: Intent;
  /** A file of random bytes that shows the state before it. */
  readonly before: Uint8Array;
}

function randomBytes(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.int(256));
}

/** Runs of entries with gaps between some of them. */
function randomRuns(random: Random, entries: number): EntryRun[] {
  const runs: EntryRun[] = [];
  let end = random.int(Math.ceil(entries / 2));
  while (runs.length < 6 && end < entries) {
    const count = 1 + random.int(Math.min(random.pick([3, 200]), entries - end));
    runs.push([end, count]);
    end += count + random.pick([0, 1, random.int(entries)]);
  }
  return runs;
}

/** An intent as the journal gives it back, on a disk before it. */
export function randomIntent(random: Random, kind: IntentChoice): OnDisk {
  const before = randomBytes(random, FILE_BYTES);
  const intent = build(random, kind, before);
  return { intent: decodeIntent(encodeIntent(intent)), before };
}

function build(random: Random, kind: IntentChoice, before: Uint8Array): Intent {
  switch (kind) {
    case "fill":
      return fill(TABLE, randomBytes(random, 4097 + random.int(4000)));
    case "short fill":
      return fill(TABLE, randomBytes(random, 1 + random.int(4096)));
    case "refcount":
      return refcount(random, before);
    case "copied":
      return copied(random, before);
    case "pointer": {
      const slot = TABLE + 8 * random.int(512);
      const [from, to] = twoNumbers(random, 2 ** 45);
      new DataView(before.buffer).setBigUint64(slot, BigInt(from));
      return { kind: "pointer", slot, from, to };
    }
    case "zero":
      return zero(random, before);
    case "header":
      return { kind: "header", patches: randomPatches(random, before) };
  }
}

function twoNumbers(random: Random, limit: number): [number, number] {
  const from = Math.min(limit - 1, random.pick([0, 1, random.int(limit)]));
  const to = random.int(limit);
  return [from, to === from ? (from + 1) % limit : to];
}

/** Entries by the arithmetic of the specification, bit by bit: nothing here is shared with what is tested. */
function setEntry(bytes: Uint8Array, block: number, order: number, entry: number, value: number): void {
  const width = 2 ** order;
  for (let bit = 0; bit < width; bit += 1) {
    const isSet = (BigInt(value) >> BigInt(bit)) & 1n;
    const at = width < 8 ? entry * width + bit : entry * width + (width - 8 - 8 * (bit >>> 3)) + (bit & 7);
    const mask = 1 << (at & 7);
    const byte = bytes[block + (at >>> 3)] ?? 0;
    bytes[block + (at >>> 3)] = isSet === 1n ? byte | mask : byte & ~mask;
  }
}

function refcount(random: Random, before: Uint8Array): Intent {
  const order = random.int(7);
  const entries = (TABLE * 8) / 2 ** order;
  const runs = randomRuns(random, entries).map(([first, count]): RefcountRun => {
    const [from, to] = twoNumbers(random, Math.min(2 ** (2 ** order), 2 ** 40));
    for (let entry = first; entry < first + count; entry += 1) setEntry(before, TABLE, order, entry, from);
    return [first, count, from, to];
  });
  return { kind: "refcount", block: TABLE, order, runs };
}

function copied(random: Random, before: Uint8Array): Intent {
  const entrySize = random.pick([8, 16] as const);
  const length = entrySize * (1 + random.int(4096 / entrySize));
  const set = random.chance(0.5);
  const runs = randomRuns(random, length / entrySize);
  for (const [first, count] of runs) {
    for (let entry = first; entry < first + count; entry += 1) {
      const at = TABLE + entry * entrySize;
      before[at] = set ? (before[at] ?? 0) & 0x7f : (before[at] ?? 0) | 0x80;
    }
  }
  const checksum = copiedChecksum(before.slice(TABLE, TABLE + length), entrySize);
  return { kind: "copied", table: TABLE, length, entrySize, set, runs, checksum };
}

/** No entry is a plain zero before: that would be its state after. */
function zero(random: Random, before: Uint8Array): Intent {
  const entries = randomRuns(random, TABLE / 8).flatMap(([first, count]) =>
    Array.from({ length: count }, (_, index): ZeroedEntry => {
      const at = new DataView(before.buffer, TABLE + (first + index) * 8, 8);
      if (at.getUint32(0) === 0) at.setUint32(0, 1);
      return [first + index, at.getUint32(0), at.getUint32(4)];
    }),
  );
  return { kind: "zero", table: TABLE, entries };
}

/** Apart from each other, over sectors, some bytes as they are. */
function randomPatches(random: Random, before: Uint8Array): BytePatch[] {
  const patches: BytePatch[] = [];
  for (let at = random.int(600); at < 1400 && patches.length < 4;) {
    const old = before.slice(at, at + 1 + random.int(random.pick([8, 600])));
    const after = old.map((byte) => (random.chance(0.5) ? byte : random.int(256)));
    patches.push({ offset: at, before: old, after });
    at += old.length + 1 + random.int(300);
  }
  const [first] = patches;
  if (first !== undefined) first.after[0] = (first.before[0] ?? 0) ^ 1;
  return patches;
}
