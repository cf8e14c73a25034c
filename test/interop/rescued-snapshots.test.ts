/** Damaged snapshot tables of images that qemu made: repaired, qemu has every snapshot again, as it was. */
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { qcowal } from "../support/in-process.ts";
import { placesIn, targetAt } from "../support/places.ts";
import {
  createImage,
  io,
  judge,
  qemuCheck,
  rawDigest,
  requireQemu,
  snapshotCreate,
  snapshotList,
  tempDir,
} from "../support/qemu.ts";

beforeAll(requireQemu);

const NAMES = ["sn0", "sn1", "sn2"];

/** Entries of a snapshot table as bytes, and the table with other entries in their place. */
interface Entry {
  readonly fixed: Buffer;
  readonly extra: Buffer;
  readonly rest: Buffer;
}

function entriesAt(bytes: Buffer, table: number): Entry[] {
  const entries: Entry[] = [];
  let at = table;
  while (entries.length < NAMES.length) {
    const extraEnd = at + 40 + bytes.readUInt32BE(at + 36);
    const end = extraEnd + bytes.readUInt16BE(at + 12) + bytes.readUInt16BE(at + 14);
    entries.push({
      fixed: Buffer.from(bytes.subarray(at, at + 40)),
      extra: Buffer.from(bytes.subarray(at + 40, extraEnd)),
      rest: Buffer.from(bytes.subarray(extraEnd, end)),
    });
    at = Math.ceil(end / 8) * 8;
  }
  return entries;
}

function putEntries(bytes: Buffer, table: number, entries: readonly Entry[]): void {
  let at = table;
  for (const { fixed, extra, rest } of entries) {
    fixed.writeUInt32BE(extra.length, 36);
    const entry = Buffer.concat([fixed, extra, rest]);
    entry.copy(bytes, at);
    at = Math.ceil((at + entry.length) / 8) * 8;
  }
}

/** Where the last of three entries begins. */
function lastEntry(bytes: Buffer, table: number): number {
  const lengths = entriesAt(bytes, table).map((entry) => Buffer.concat(Object.values(entry)).length);
  return lengths.slice(0, 2).reduce((at, length) => at + Math.ceil(length / 8) * 8, table);
}

/** Gives the entry of a snapshot this much extra data: what is known of it, then anything. */
const withExtra =
  (index: number, length: number): Damage =>
  (bytes, table) => {
    const entries = entriesAt(bytes, table);
    const entry = entries[index];
    if (entry === undefined) throw new Error("no such entry");
    entries[index] = { ...entry, extra: Buffer.concat([entry.extra, Buffer.alloc(length, 0x78)], length) };
    putEntries(bytes, table, entries);
  };

type Damage = (bytes: Buffer, table: number) => void;

interface Case {
  readonly name: string;
  readonly damage: Damage;
  /** Snapshots that are given up, which has to be allowed. */
  readonly lost?: readonly string[];
  /** How `qemu-img check` ends on it, and how ours does. */
  readonly code: number;
}

const CASES: readonly Case[] = [
  { name: "an entry without its disk size", damage: withExtra(1, 8), code: 2 },
  { name: "an entry without extra data", damage: withExtra(0, 0), code: 2 },
  { name: "1025 bytes of extra data", damage: withExtra(1, 1025), code: 1 },
  { name: "20000 bytes of extra data", damage: withExtra(2, 20_000), code: 1 },
  { name: "65,537 snapshots", damage: (bytes) => void bytes.writeUInt32BE(65_537, 60), code: 1 },
  { name: "2^31 + 3 snapshots", damage: (bytes) => void bytes.writeUInt32BE(2 ** 31 + 3, 60), code: 1 },
  {
    name: "a table at an odd place",
    damage: (bytes, table) => void bytes.writeBigUInt64BE(BigInt(table) + 8n, 64),
    code: 1,
  },
  {
    name: "2^32 - 1 snapshots in the place of the header",
    damage: (bytes) => void bytes.fill(0xff, 60, 64).fill(0, 64, 72),
    code: 1,
  },
  {
    name: "a table in the place of the active L1 table",
    damage: (bytes) => void bytes.copy(bytes, 64, 40, 48),
    code: 2,
  },
  {
    name: "a table behind the end of the file",
    damage: (bytes) => void bytes.writeBigUInt64BE(1n << 40n, 64),
    code: 2,
  },
  {
    name: "an entry that reaches behind the end of the file",
    damage: (bytes, table) => void bytes.writeUInt32BE(65_536, lastEntry(bytes, table) + 36),
    lost: ["sn2"],
    code: 1,
  },
  {
    name: "an L2 table with reserved bits",
    damage: (bytes, table) => {
      const l1 = Number(bytes.readBigUInt64BE(table));
      bytes[targetAt({ bytes }, l1) + 8] = 0x20;
    },
    lost: ["sn0"],
    code: 2,
  },
  {
    name: "an entry that reaches behind 64 MiB",
    damage: (bytes, table) => void bytes.writeUInt32BE(2 ** 27, lastEntry(bytes, table) + 36),
    lost: ["sn2"],
    code: 1,
  },
  {
    name: "an L1 table at an odd place",
    damage: (bytes, table) => void bytes.writeBigUInt64BE(0x400200n, table),
    lost: ["sn0"],
    code: 2,
  },
  {
    name: "an L1 table that is too large",
    damage: (bytes, table) => void bytes.writeUInt32BE(0x1000_0000, table + 8),
    lost: ["sn0"],
    code: 2,
  },
];

/** What qemu says of the snapshots and of the disk, by name. */
async function seen(path: string): Promise<Map<string, unknown>> {
  const found = new Map<string, unknown>([["", await rawDigest(path)]]);
  for (const { id, name, icount: _, ...rest } of await snapshotList(path)) {
    found.set(name, { id, ...rest, content: await rawDigest(path, { snapshotId: id }) });
  }
  return found;
}

describe.each(["1.1", "0.10"])(
  "the snapshots of an image of version %s are there after a repair of",
  (compat) => {
    let dir: string;
    let made: string;
    let before: ReadonlyMap<string, unknown>;

    beforeAll(async () => {
      dir = await mkdtemp(join(tmpdir(), "qcowal-rescued-"));
      made = join(dir, "made.qcow2");
      await createImage(made, { size: "2M", options: { compat } });
      for (const [index, name] of NAMES.entries()) {
        await io(made, `write -P ${index + 1} ${index * 128}k 320k`);
        await snapshotCreate(made, name);
      }
      await io(made, "write -P 9 0 1M");
      before = await seen(made);
    });
    afterAll(() => rm(dir, { recursive: true }));

    // Version 2 asks for no extra data: there the short entries are none of its damage.
    const cases = CASES.filter(({ code }) => compat !== "0.10" || code === 1);
    test.each(cases)("$name", async ({ damage, lost = [], code }) => {
      const path = join(await tempDir(), "a.qcow2");
      await copyFile(made, path);
      const bytes = await readFile(path);
      damage(bytes, placesIn(bytes).snapshots);
      await writeFile(path, bytes);
      expect((await qemuCheck(path)).code).toBe(code);
      expect((await qcowal("check", path)).code).toBe(code);
      if (lost.length > 0) {
        const refused = await qcowal("repair", path);
        expect(refused.code, refused.stderr).toBe(code === 1 ? 1 : 3);
        expect(refused.stderr).toContain("--drop-damaged-snapshots");
        expect(bytes.equals(await readFile(path)), "nothing is freed").toBe(true);
      }
      const repaired =
        lost.length > 0
          ? await qcowal("repair", path, "--drop-damaged-snapshots")
          : await qcowal("check", "-r", "all", path);
      expect(repaired.code, repaired.stderr).toBe(0);
      await judge(path);
      const kept = new Map([...before].filter(([name]) => !lost.includes(name)));
      expect(await seen(path)).toEqual(kept);
    });
  },
);
