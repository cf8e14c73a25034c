import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { makeImage, randomSpec, seededRandom } from "../../tools/image-maker/index.ts";
import type { ImageSpec } from "../../tools/image-maker/index.ts";
import { checkImage, describeCheck, inspectImage, logicalState, readRoot } from "./naive-qcow2.ts";
import type { CheckReport } from "./naive-qcow2.ts";
import { qemuCheck, requireQemu, tempDir } from "./qemu.ts";

beforeAll(requireQemu);

const COPIED = 1n << 63n;
const CLUSTER = 4096;

/** 16-bit refcounts, data and a compressed cluster, one snapshot whose second L2 table the active layer shares. */
const SPEC: ImageSpec = {
  version: 3,
  clusterBits: 12,
  virtualSize: 4 << 20,
  snapshots: [
    {
      name: "one",
      changes: [
        { at: 0, count: 4, kind: "data", seed: 1 },
        { at: 600, count: 2, kind: "data", seed: 50 },
        { at: 10, kind: "compressed", seed: 9 },
      ],
    },
  ],
  active: { changes: [{ at: 2, count: 3, kind: "data", seed: 70 }] },
};

/** Reads and pokes 64-bit fields of an image of SPEC's shape. */
class Scalpel {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(spec: ImageSpec = SPEC) {
    this.bytes = makeImage(spec);
    this.view = new DataView(this.bytes.buffer);
  }

  get(offset: number): bigint {
    return this.view.getBigUint64(offset);
  }

  change(offset: number, change: (value: bigint) => bigint): void {
    this.view.setBigUint64(offset, BigInt.asUintN(64, change(this.get(offset))));
  }

  host(offset: number): number {
    return Number(this.get(offset) & 0x00ff_ffff_ffff_fe00n);
  }

  l1(slot = 0): number {
    return inspectImage(this.bytes).active.l1Offset + slot * 8;
  }

  l2(index: number, slot = 0): number {
    return this.host(this.l1(slot)) + index * 8;
  }

  /** Where the refcount of a cluster is stored. */
  refcount(hostOffset: number): number {
    const table = inspectImage(this.bytes).header.refcountTableOffset;
    return this.host(table) + (hostOffset / CLUSTER) * 2;
  }

  addToRefcount(hostOffset: number, addend: number): void {
    const at = this.refcount(hostOffset);
    this.view.setUint16(at, this.view.getUint16(at) + addend);
  }
}

interface Damage {
  readonly name: string;
  readonly hurt: (scalpel: Scalpel) => void;
  readonly finds: keyof Omit<CheckReport, "notes" | "clean">;
}

const DAMAGES: readonly Damage[] = [
  {
    name: "a refcount that is one too high",
    hurt: (s) => s.addToRefcount(s.host(s.l2(0)), 1),
    finds: "leaks",
  },
  {
    name: "a refcount that is one too low",
    hurt: (s) => s.addToRefcount(s.host(s.l2(0)), -1),
    finds: "corruptions",
  },
  {
    name: "an L1 entry whose COPIED flag is missing",
    hurt: (s) => s.change(s.l1(0), (v) => v & ~COPIED),
    finds: "copied",
  },
  {
    name: "a COPIED flag on a shared L2 table",
    hurt: (s) => s.change(s.l1(1), (v) => v | COPIED),
    finds: "copied",
  },
  {
    name: "a COPIED flag on a shared data cluster",
    hurt: (s) => s.change(s.l2(0), (v) => v | COPIED),
    finds: "copied",
  },
  {
    name: "a missing COPIED flag on a data cluster",
    hurt: (s) => s.change(s.l2(3), (v) => v & ~COPIED),
    finds: "copied",
  },
  {
    name: "a COPIED flag on a compressed cluster",
    hurt: (s) => s.change(s.l2(10), (v) => v | COPIED),
    finds: "corruptions",
  },
  {
    name: "two L2 entries that point to one cluster",
    hurt: (s) => {
      const target = s.get(s.l2(2));
      s.change(s.l2(3), () => target);
    },
    finds: "corruptions",
  },
  {
    name: "an L2 entry that lost its cluster",
    hurt: (s) => s.change(s.l2(3), () => 0n),
    finds: "leaks",
  },
  {
    name: "an L2 entry beyond the end of the file",
    hurt: (s) => s.change(s.l2(20), () => 0x4000_0000n),
    finds: "corruptions",
  },
  {
    name: "an L2 entry that is not aligned",
    hurt: (s) => s.change(s.l2(3), (v) => v + 0x200n),
    finds: "corruptions",
  },
  {
    name: "reserved bits in an L2 entry",
    hurt: (s) => s.change(s.l2(3), (v) => v | 0x10n),
    finds: "corruptions",
  },
  {
    name: "reserved bits in an L1 entry",
    hurt: (s) => s.change(s.l1(0), (v) => v | 0x1n),
    finds: "corruptions",
  },
  {
    name: "an L1 entry that points to a data cluster in use",
    hurt: (s) => {
      const data = BigInt(s.host(s.l2(4)));
      s.change(s.l1(1), () => data);
    },
    finds: "overlaps",
  },
  {
    name: "a snapshot whose L1 table is not aligned",
    hurt: (s) => s.change(inspectImage(s.bytes).header.snapshotsOffset, (v) => v + 0x200n),
    finds: "corruptions",
  },
  {
    name: "a snapshot that disappeared from the table",
    hurt: (s) => s.view.setUint32(60, 0),
    finds: "leaks",
  },
  {
    name: "a version 3 snapshot entry with too little extra data",
    hurt: (s) => s.view.setUint32(inspectImage(s.bytes).header.snapshotsOffset + 36, 8),
    finds: "corruptions",
  },
];

async function checkedByQemu(bytes: Uint8Array): ReturnType<typeof qemuCheck> {
  const path = join(await tempDir(), "image.qcow2");
  await writeFile(path, bytes);
  return qemuCheck(path);
}

/** What both count the same way. */
const counted = (report: CheckReport): { leaks: number; corruptions: number } => ({
  leaks: report.leaks.length,
  corruptions: report.corruptions.length + report.copied.length,
});

describe("the naive checker", () => {
  test("finds nothing in the image that the damages are done to", () => {
    expect(describeCheck(checkImage(new Scalpel().bytes))).toBe("clean");
  });

  test.each(DAMAGES)("sees $name, and counts as qemu-img check does", async ({ hurt, finds }) => {
    const scalpel = new Scalpel();
    hurt(scalpel);
    const report = checkImage(scalpel.bytes);
    expect(report.clean).toBe(false);
    expect(report[finds].length, describeCheck(report)).toBeGreaterThan(0);
    const { corruptions, leaks, text } = await checkedByQemu(scalpel.bytes);
    expect(counted(report), `${describeCheck(report)}\nqemu-img check:\n${text}`).toEqual({
      leaks,
      corruptions,
    });
  });

  test("sees refcounts beyond the end of the file, where qemu-img check does not look", async () => {
    const scalpel = new Scalpel();
    scalpel.addToRefcount(scalpel.bytes.length + CLUSTER, 1);
    expect(checkImage(scalpel.bytes).beyondEnd).toHaveLength(1);
    expect((await checkedByQemu(scalpel.bytes)).code).toBe(0);
  });

  test("sees two structures in one cluster even when the refcount agrees", async () => {
    const scalpel = new Scalpel();
    const shared = scalpel.host(scalpel.l2(3));
    const { l1Offset } = inspectImage(scalpel.bytes).snapshots[0] ?? { l1Offset: 0 };
    scalpel.addToRefcount(shared, -1);
    scalpel.addToRefcount(l1Offset, 1);
    scalpel.change(scalpel.l2(3), () => BigInt(l1Offset));
    const report = checkImage(scalpel.bytes);
    expect({ ...counted(report), overlaps: report.overlaps.length }).toEqual({
      leaks: 0,
      corruptions: 0,
      overlaps: 1,
    });
    expect((await checkedByQemu(scalpel.bytes)).code).toBe(0);
  });

  test("does not mind COPIED flags in the tables of a snapshot", () => {
    const clean = { ...SPEC, snapshotCopiedFlags: "random" } as const;
    expect(describeCheck(checkImage(makeImage(clean)))).toBe("clean");
  });

  test("notes snapshots with equal ids without calling them damage", () => {
    const report = checkImage(
      makeImage({
        ...SPEC,
        snapshots: [
          { name: "a", id: "1" },
          { name: "b", id: "1" },
        ],
      }),
    );
    expect(report.clean).toBe(true);
    expect(report.notes).toHaveLength(1);
  });

  let damaged = 0;

  test.each(Array.from({ length: 60 }, (_, seed) => seed))(
    "counts random damage as qemu-img check does, seed %i",
    async (seed) => {
      const random = seededRandom(5000 + seed);
      const spec = randomSpec(random, { maxClusterBits: 12 });
      const bytes = makeImage(spec);
      const { header } = inspectImage(bytes);
      const view = new DataView(bytes.buffer);
      const block = Number(view.getBigUint64(header.refcountTableOffset));
      const clusters = Math.ceil(bytes.length / header.clusterSize);
      const covered = Math.min(header.clusterSize, Math.floor((clusters * 2 ** header.refcountOrder) / 8));
      for (let times = 1 + random.int(3); times > 0; times--) {
        // The refcounts of the header and of the first structures decide whether QEMU wants a rebuild; leave them.
        const at = block + Math.floor(covered / 2) + random.int(Math.ceil(covered / 2));
        if (at < bytes.length) bytes[at] = random.int(256);
      }
      const report = checkImage(bytes);
      const { corruptions, leaks, text } = await checkedByQemu(bytes);
      damaged += report.clean ? 0 : 1;
      expect(counted(report), `${describeCheck(report)}\nqemu-img check:\n${text}`).toEqual({
        leaks,
        corruptions,
      });
    },
  );

  test("was shown damage by most of those seeds", () => {
    expect(damaged).toBeGreaterThan(40);
  });
});

describe("the naive reader", () => {
  const logical = (bytes: Uint8Array): string => JSON.stringify(logicalState(inspectImage(bytes)));

  test("tells what a user could see, wherever it lies", () => {
    const moved = makeImage({ ...SPEC, placement: { order: "random", seed: 4, holes: 0.5 } });
    expect(logical(moved)).toBe(logical(makeImage(SPEC)));
  });

  test("takes zeros in any form for the same content", () => {
    const spec: ImageSpec = { version: 3, clusterBits: 12, virtualSize: 1 << 20 };
    const zeros = (kind: "zero" | "zero-allocated"): string =>
      logical(makeImage({ ...spec, active: { changes: [{ at: 3, count: 2, kind }] } }));
    expect(zeros("zero")).toBe(logical(makeImage(spec)));
    expect(zeros("zero-allocated")).toBe(logical(makeImage(spec)));
  });

  test("tells zeros from what a backing file shows through", () => {
    const spec: ImageSpec = { version: 3, clusterBits: 12, virtualSize: 1 << 20, backing: { name: "base" } };
    const zeros = makeImage({ ...spec, active: { changes: [{ at: 3, kind: "zero" }] } });
    expect(logical(zeros)).not.toBe(logical(makeImage(spec)));
  });

  test.each([
    ["the content of the active layer", (spec: ImageSpec) => ({ ...spec, active: { changes: [] } })],
    [
      "the VM state of a snapshot",
      (spec: ImageSpec) => ({
        ...spec,
        snapshots: [
          { ...spec.snapshots?.[0], name: "one", vmState: [{ at: 0, kind: "data" as const, seed: 3 }] },
        ],
      }),
    ],
    [
      "the name of a snapshot",
      (spec: ImageSpec) => ({ ...spec, snapshots: [{ ...spec.snapshots?.[0], name: "two" }] }),
    ],
  ])("notices a change of %s", (_, change) => {
    expect(logical(makeImage(change(SPEC)))).not.toBe(logical(makeImage(SPEC)));
  });

  test("notices one changed byte of one data cluster in each root that shows it", () => {
    const scalpel = new Scalpel();
    const before = inspectImage(scalpel.bytes);
    const at = scalpel.host(scalpel.l2(1)) + 77;
    scalpel.bytes[at] = (scalpel.bytes[at] ?? 0) ^ 1;
    const after = inspectImage(scalpel.bytes);
    expect(after.active.contentDigest).not.toBe(before.active.contentDigest);
    expect(after.snapshots[0]?.contentDigest).not.toBe(before.snapshots[0]?.contentDigest);
  });

  test.each([
    { version: 3, at: 72, bit: 0x40 },
    { version: 2, at: 4, bit: 0x80 },
  ] as const)(
    "looks behind the fence of a version $version image only when asked to",
    ({ version, at, bit }) => {
      const bytes = makeImage({ ...SPEC, version });
      const open = logical(bytes);
      bytes[at] = (bytes[at] ?? 0) | bit;
      expect(() => inspectImage(bytes)).toThrow(/fenced/);
      expect(() => checkImage(bytes)).toThrow(/fenced/);
      const report = inspectImage(bytes, { ignoreFence: true });
      expect(report.header.fenced).toBe(true);
      expect(JSON.stringify(logicalState(report))).toBe(open);
      expect(checkImage(bytes, { ignoreFence: true }).clean).toBe(true);
    },
  );

  test("reads no guest bytes of a backing file that it was not given", () => {
    const bytes = makeImage({ ...SPEC, backing: { name: "base" } });
    expect(() => readRoot(bytes, "active")).toThrow(/backing/);
  });
});
