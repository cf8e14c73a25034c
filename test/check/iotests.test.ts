/** The malformed headers of QEMU's test 080 and the snapshot tables of 261: a check ends as qemu-img's does. */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { requireQemu, tempDir } from "../support/qemu.ts";
import { isSame, verdictOn } from "./verdict.ts";

beforeAll(requireQemu);

const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 16,
  virtualSize: 64 * 2 ** 20,
  headerLength: 104,
  active: { changes: [{ at: 0, count: 2, kind: "data", seed: 1 }] },
};

/** Offset in the file, bytes of the value, value. */
type Poke = readonly [offset: number, size: 4 | 8, value: bigint];

const LONG_EXTENSION = [
  [104, 4, 0x1234_5678n],
  [108, 4, 0x7fff_ffffn],
] as const;

const HEADERS: readonly (readonly [name: string, pokes: readonly Poke[], code: number])[] = [
  ["header length 2^32 - 1", [[100, 4, 0xffff_ffffn]], 1],
  ["header length 2^31 - 1", [[100, 4, 0x7fff_ffffn]], 1],
  ["backing offset all ones", [[8, 8, 2n ** 64n - 1n], ...LONG_EXTENSION], 1],
  ["an extension that runs past the backing name", [[8, 8, 0x74n], ...LONG_EXTENSION], 1],
  ["an extension that runs past the cluster", LONG_EXTENSION, 1],
  ["refcount table of 2^32 - 1 clusters", [[56, 4, 0xffff_ffffn]], 1],
  ["refcount table of 0x20001 clusters", [[56, 4, 0x2_0001n]], 1],
  ["refcount table at an odd place", [[48, 8, 0x1234_5678_90ab_cdefn]], 1],
  [
    "refcount table at the end of the world",
    [
      [48, 8, 0xffff_ffff_ffff_0000n],
      [56, 4, 0x7fn],
    ],
    1,
  ],
  ["2^32 - 1 snapshots", [[60, 4, 0xffff_ffffn]], 1],
  ["2^31 - 1 snapshots", [[60, 4, 0x7fff_ffffn]], 1],
  [
    "snapshot table at the end of the world",
    [
      [64, 8, 0xffff_ffff_ffff_0000n],
      [60, 4, 0xffffn],
    ],
    1,
  ],
  ["snapshot table at an odd place without snapshots", [[64, 8, 0x1234_5678_90ab_cdefn]], 1],
  [
    "65536 snapshots behind the end of the file",
    [
      [64, 8, 0x100_0000n],
      [60, 4, 0x1_0000n],
    ],
    2,
  ],
  ["L1 table of 2^32 - 1 entries", [[36, 4, 0xffff_ffffn]], 1],
  ["L1 table of 2^31 - 1 entries", [[36, 4, 0x7fff_ffffn]], 1],
  [
    "L1 table at the end of the world",
    [
      [40, 8, 0x7fff_ffff_ffff_0000n],
      [36, 4, 0xffffn],
    ],
    1,
  ],
  [
    "L1 table at an odd place",
    [
      [40, 8, 0x1234_5678_90ab_cdefn],
      [36, 4, 1n],
    ],
    1,
  ],
  ["L1 table without entries", [[36, 4, 0n]], 1],
  [
    "backing name of 4 GiB",
    [
      [8, 8, 0x1000n],
      [16, 4, 0xffff_ffffn],
    ],
    1,
  ],
];

const SNAPSHOTS: ImageSpec = {
  ...SPEC,
  snapshots: [
    { name: "sn0", extraSize: 0 },
    { name: "sn1", extraSize: 50 },
    { name: "sn2", extraSize: 8 },
  ],
};

async function judged(bytes: Uint8Array): ReturnType<typeof verdictOn> {
  return verdictOn(join(await tempDir(), "a.qcow2"), bytes);
}

function poked(spec: ImageSpec, pokes: readonly Poke[]): Buffer {
  const bytes = Buffer.from(makeImage(spec));
  for (const [offset, size, value] of pokes) {
    if (size === 4) bytes.writeUInt32BE(Number(value), offset);
    else bytes.writeBigUInt64BE(value, offset);
  }
  return bytes;
}

describe("a header with", () => {
  test.each(HEADERS)("%s", async (_, pokes, code) => {
    const verdict = await judged(poked(SPEC, pokes));
    expect(verdict.code).toBe(code);
    expect(isSame(verdict), verdict.qemu.stderr).toBe(true);
  });
});

describe("a snapshot table with", () => {
  const tableOf = (bytes: Buffer): number => Number(bytes.readBigUInt64BE(64));

  /** A file with a table of so many entries at 1 MiB; `entry` writes one and returns where the next begins. */
  function withTable(version: 2 | 3, count: number, entry: (bytes: Buffer, at: number) => number): Buffer {
    const image = makeImage({ ...SPEC, version, ...(version === 2 && { headerLength: 72 }) });
    const bytes = Buffer.alloc(2 ** 20 + 70 * 2 ** 20);
    bytes.set(image);
    bytes.writeUInt32BE(count, 60);
    bytes.writeBigUInt64BE(2n ** 20n, 64);
    for (let left = count, at = 2 ** 20; left > 0; left -= 1) at = Math.ceil(entry(bytes, at) / 8) * 8;
    return bytes;
  }

  test("old entries in version 2 is clean", async () => {
    const verdict = await judged(Buffer.from(makeImage({ ...SNAPSHOTS, version: 2, headerLength: 72 })));
    expect([verdict.code, verdict.qemu.code]).toEqual([0, 0]);
  });

  test("old entries in version 3 has a corruption for each", async () => {
    const verdict = await judged(Buffer.from(makeImage(SNAPSHOTS)));
    expect(verdict.code).toBe(2);
    expect(verdict.report?.corruptions).toBe(2);
    expect(isSame(verdict), verdict.qemu.stderr).toBe(true);
  });

  test("too much extra data cannot be checked", async () => {
    const bytes = Buffer.from(makeImage(SNAPSHOTS));
    bytes.writeUInt32BE(65_536, tableOf(bytes) + 36);
    const verdict = await judged(bytes);
    expect([verdict.code, verdict.qemu.code]).toEqual([1, 1]);
    expect(verdict.report?.findings[0]).toMatchObject({ kind: "error" });
  });

  test("more than 64 MiB cannot be checked", async () => {
    const bytes = withTable(3, 508, (target, at) => {
      target.writeUInt16BE(65_535, at + 12);
      target.writeUInt16BE(65_535, at + 14);
      target.writeUInt32BE(1024, at + 36);
      return at + 40 + 1024 + 2 * 65_535;
    });
    const verdict = await judged(bytes);
    expect([verdict.code, verdict.qemu.code]).toEqual([1, 1]);
    expect(verdict.report?.findings[0]).toMatchObject({ kind: "error", what: "Snapshot table is too big" });
  });

  test.each([
    [65_536, 2],
    [131_072, 1],
  ])("%i empty entries ends with %i", async (count, code) => {
    const verdict = await judged(withTable(2, count, (_, at) => at + 40));
    expect(verdict.code).toBe(code);
    expect(isSame(verdict), verdict.qemu.stderr.slice(0, 2000)).toBe(true);
  });
});
