/** Each kind of finding, by single entries poked into a clean image, beside `qemu-img check` on the same bytes. */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { Finding } from "../../src/index.ts";
import { type ImageSpec, makeImage } from "../../tools/image-maker/index.ts";
import { requireQemu, tempDir } from "../support/qemu.ts";
import { isSame, verdictOn } from "./verdict.ts";

beforeAll(requireQemu);

const CLUSTER = 4096;
const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 12,
  virtualSize: 2 ** 20,
  snapshots: [{ name: "one", changes: [{ at: 0, count: 9, kind: "data", seed: 1 }] }],
  active: {
    changes: [
      { at: 7, count: 5, kind: "data", seed: 3 },
      { at: 40, count: 2, kind: "compressed", seed: 4 },
    ],
  },
};
const ONE = `snapshot "one" (id 1)`;

/** A clean image, and where its tables are. */
class Subject {
  readonly bytes: Buffer;
  readonly table: number;
  readonly block: number;
  readonly l1: number;
  readonly l2: number;
  readonly snapshots: number;
  readonly snapshotL1: number;
  readonly clusters: number;

  constructor(spec: ImageSpec = SPEC) {
    this.bytes = Buffer.from(makeImage(spec));
    this.table = this.u64(48);
    this.block = this.u64(this.table);
    this.l1 = this.u64(40);
    this.l2 = this.target(this.l1);
    this.snapshots = this.u64(64);
    this.snapshotL1 = this.u64(this.snapshots);
    this.clusters = Math.ceil(this.bytes.length / CLUSTER);
  }

  u64(at: number): number {
    return Number(this.bytes.readBigUInt64BE(at));
  }

  put(at: number, value: bigint): void {
    this.bytes.writeBigUInt64BE(value, at);
  }

  /** Cluster that an entry points to, in bytes. */
  target(at: number): number {
    return Number(this.bytes.readBigUInt64BE(at) & 0x00ff_ffff_ffff_fe00n);
  }

  flip(at: number, bit: number): void {
    this.put(at, this.bytes.readBigUInt64BE(at) ^ (1n << BigInt(bit)));
  }

  refcount(cluster: number, value: number): void {
    this.bytes.writeUInt16BE(value, this.block + 2 * cluster);
  }

  /** Entry of guest cluster 0, which only the snapshot wrote, and of one that only the active layer has. */
  get sharedEntry(): number {
    return this.l2;
  }

  get ownEntry(): number {
    return this.l2 + 8 * 10;
  }
}

interface Case {
  readonly name: string;
  readonly spec?: Partial<ImageSpec>;
  readonly poke: (subject: Subject) => void;
  readonly finds: Partial<Finding>;
  readonly code: number;
}

const has = (part: string): string => expect.stringContaining(part) as string;

const CASES: readonly Case[] = [
  {
    name: "a leak of a cluster that nothing uses",
    poke: (s) => s.put(s.ownEntry, 0n),
    finds: { kind: "leak", what: has("refcount=1 reference=0"), refcount: 1, references: 0, owners: [] },
    code: 3,
  },
  {
    name: "a refcount that is too high, of a cluster that two roots share",
    poke: (s) => s.refcount(s.target(s.sharedEntry) / CLUSTER, 5),
    finds: { kind: "leak", refcount: 5, references: 2, owners: ["active layer", ONE] },
    code: 3,
  },
  {
    name: "a refcount that is too low",
    poke: (s) => s.refcount(s.target(s.sharedEntry) / CLUSTER, 1),
    finds: { kind: "corruption", refcount: 1, references: 2, owners: ["active layer", ONE] },
    code: 2,
  },
  {
    name: "a header cluster without a refcount",
    poke: (s) => s.refcount(0, 0),
    finds: { kind: "corruption", cluster: 0, refcount: 0, references: 1, owners: ["header"] },
    code: 2,
  },
  {
    name: "a COPIED flag that is set on shared data",
    poke: (s) => s.flip(s.sharedEntry, 63),
    finds: { kind: "corruption", what: has("COPIED flag is set"), owners: ["active layer"] },
    code: 2,
  },
  {
    name: "a COPIED flag that is clear on data of its own",
    poke: (s) => s.flip(s.ownEntry, 63),
    finds: { kind: "corruption", what: has("COPIED flag is clear"), owners: ["active layer"] },
    code: 2,
  },
  {
    name: "a COPIED flag of an L2 table",
    poke: (s) => s.flip(s.l1, 63),
    finds: { kind: "corruption", where: has("L1 table of active layer, entry 0"), owners: ["active layer"] },
    code: 2,
  },
  {
    name: "a COPIED flag on compressed data",
    poke: (s) => s.flip(s.l2 + 8 * 40, 63),
    finds: { kind: "corruption", what: has("compressed data"), owners: ["active layer"] },
    code: 2,
  },
  {
    name: "reserved bits of an L2 entry",
    poke: (s) => s.flip(s.ownEntry, 3),
    finds: {
      kind: "corruption",
      what: "reserved bits are set",
      where: has("entry 10"),
      offset: expect.any(Number),
    },
    code: 2,
  },
  {
    name: "reserved bits of a snapshot's L1 entry",
    poke: (s) => s.flip(s.snapshotL1, 3),
    finds: { kind: "corruption", what: "reserved bits are set", owners: [ONE] },
    code: 2,
  },
  {
    name: "data that is not aligned",
    poke: (s) => s.flip(s.ownEntry, 10),
    finds: { kind: "corruption", what: has("is not aligned"), owners: ["active layer"] },
    code: 2,
  },
  {
    name: "an L2 table that is not aligned",
    poke: (s) => s.flip(s.l1, 10),
    finds: { kind: "corruption", what: has("is not cluster aligned"), owners: ["active layer"] },
    code: 2,
  },
  {
    name: "data behind the end of the file",
    poke: (s) => s.put(s.ownEntry, 0x8000_0000_0100_0000n),
    finds: { kind: "corruption", what: has("reaches behind the end of the file"), owners: ["active layer"] },
    code: 2,
  },
  {
    name: "an L1 table behind the end of the file",
    poke: (s) => s.put(s.snapshots, 0x0100_0000n),
    finds: { kind: "corruption", what: has("reaches behind the end"), owners: [`L1 table of ${ONE}`] },
    code: 2,
  },
  {
    name: "a snapshot with an L1 table that is not aligned",
    poke: (s) => s.put(s.snapshots, BigInt(s.snapshotL1 + 512)),
    finds: { kind: "corruption", where: "snapshot table", what: has("not cluster aligned"), owners: [ONE] },
    code: 2,
  },
  {
    name: "a snapshot with an L1 table that is too large",
    poke: (s) => void s.bytes.writeUInt32BE(0x1000_0000, s.snapshots + 8),
    finds: { kind: "corruption", where: "snapshot table", what: has("too large"), owners: [ONE] },
    code: 2,
  },
  {
    name: "a snapshot entry of version 3 without a disk size",
    spec: { snapshots: [{ ...(SPEC.snapshots?.[0] ?? { name: "one" }), extraSize: 8 }] },
    poke: () => undefined,
    finds: { kind: "corruption", where: "snapshot table", what: "entry 0 is incomplete", owners: [ONE] },
    code: 2,
  },
  {
    name: "a snapshot entry with too much extra data",
    poke: (s) => void s.bytes.writeUInt32BE(65_536, s.snapshots + 36),
    finds: { kind: "error", where: "snapshot table", what: has("Too much extra metadata") },
    code: 1,
  },
  {
    name: "reserved bits of a refcount table slot",
    poke: (s) => s.flip(s.table, 2),
    finds: { kind: "corruption", where: "refcount table, slot 0", what: "reserved bits are set" },
    code: 2,
  },
  {
    name: "a refcount block that is not aligned",
    poke: (s) => s.flip(s.table, 10),
    finds: { kind: "error", what: has("cannot be read") },
    code: 1,
  },
  {
    name: "a refcount block behind the end of the file",
    poke: (s) => s.put(s.table, 0x0100_0000n),
    finds: { kind: "corruption", where: "refcount table, slot 0", what: has("is outside the file") },
    code: 2,
  },
  {
    name: "a refcount block that two slots name",
    poke: (s) => s.put(s.table + 8, BigInt(s.block)),
    finds: {
      kind: "corruption",
      where: "refcount table, slot 1",
      owners: ["refcount block 0", "refcount block 1"],
    },
    code: 2,
  },
  {
    name: "more references than a refcount can hold",
    spec: { refcountOrder: 0, snapshots: [], placement: { separateCompressed: true } },
    poke: (s) => s.put(s.ownEntry, BigInt(s.target(s.ownEntry + 8)) | (1n << 63n)),
    finds: {
      kind: "corruption",
      what: has("more references than a refcount can hold"),
      owners: ["active layer"],
    },
    code: 2,
  },
  {
    name: "a refcount that no number holds exactly",
    spec: { refcountOrder: 6 },
    poke: (s) => s.put(s.block, 2n ** 64n - 1n),
    finds: {
      kind: "leak",
      what: "cluster 0 refcount=18446744073709551615 reference=1",
      refcount: "18446744073709551615",
    },
    code: 3,
  },
  {
    name: "a bitmap entry with reserved bits",
    spec: { bitmap: { name: "nightly", granularityBits: 16 }, snapshots: [] },
    poke: (s) => {
      const directory = s.bytes.indexOf("nightly") - 24;
      s.flip(s.u64(directory), 5);
    },
    finds: { kind: "error", where: "table of bitmap 0", what: "entry 0 is invalid" },
    code: 1,
  },
  {
    name: "a bitmap directory that ends too early",
    spec: { bitmap: { name: "nightly", granularityBits: 16 }, snapshots: [] },
    poke: (s) => s.bytes.fill(0x7f, s.bytes.indexOf("nightly") - 6, s.bytes.indexOf("nightly") - 4),
    finds: { kind: "error", where: "bitmap directory" },
    code: 1,
  },
];

async function judged(name: string, bytes: Uint8Array): Promise<Awaited<ReturnType<typeof verdictOn>>> {
  return verdictOn(join(await tempDir(), `${name.replaceAll(/\W/g, "-")}.qcow2`), bytes);
}

describe("a check finds", () => {
  test.each(CASES)("$name", async ({ name, spec, poke, finds, code }) => {
    const subject = new Subject({ ...SPEC, ...spec });
    poke(subject);
    const verdict = await judged(name, subject.bytes);
    expect(verdict.report?.findings).toContainEqual(expect.objectContaining(finds));
    expect(verdict.code).toBe(code);
    expect(isSame(verdict), JSON.stringify(verdict.report?.findings, null, 1) + verdict.qemu.stderr).toBe(
      true,
    );
  });
});

describe("beyond qemu-img, a check", () => {
  test("calls a cluster that two structures have corrupt, although the refcount fits", async () => {
    const subject = new Subject();
    const before = subject.target(subject.ownEntry) / CLUSTER;
    // The guest's data where the snapshot table is, and refcounts to match.
    subject.put(subject.ownEntry, BigInt(subject.snapshots));
    subject.refcount(before, 0);
    subject.refcount(subject.snapshots / CLUSTER, 2);
    const { qemu, report } = await judged("overlap", subject.bytes);
    expect(qemu.code).toBe(0);
    expect(report).toMatchObject({ corruptions: 1, overlaps: 1 });
    expect(report?.findings[0]).toMatchObject({
      kind: "corruption",
      where: "overlap",
      owners: ["snapshot table", "active layer"],
    });
  });

  test("notes refcounts behind the end of the file, which change no verdict", async () => {
    const subject = new Subject();
    subject.refcount(subject.clusters + 5, 1);
    const { qemu, code, report } = await judged("behind", subject.bytes);
    expect([qemu.code, code]).toEqual([0, 0]);
    expect(report?.findings).toMatchObject([{ kind: "note", what: has("behind the end of the file: 1") }]);
  });

  test("goes on when the snapshot table cannot be read, and calls nothing leaked", async () => {
    const subject = new Subject();
    subject.bytes.writeUInt32BE(65_536, subject.snapshots + 36);
    subject.refcount(0, 0);
    const { report } = await judged("table", subject.bytes);
    expect(report).toMatchObject({ checkErrors: 1, leaks: 0 });
    expect(report?.findings).toContainEqual(expect.objectContaining({ kind: "corruption", cluster: 0 }));
  });

  test("keeps a thousand findings, and counts the rest", async () => {
    const subject = new Subject();
    for (let cluster = 0; cluster < 2000; cluster += 1) subject.refcount(cluster, 7);
    const bytes = Buffer.concat([subject.bytes, Buffer.alloc(2000 * CLUSTER - subject.bytes.length)]);
    const verdict = await judged("many", bytes);
    expect(isSame(verdict)).toBe(true);
    expect(verdict.report?.findings.length).toBe(1000);
    expect(verdict.report?.findingsLeftOut).toBe(
      (verdict.report?.leaks ?? 0) + (verdict.report?.corruptions ?? 0) - 1000,
    );
  });
});
