import type { Pokes, Recipe } from "./malformed-images.ts";

/**
 * What a program says to each request: its exit code, or the code of our error,
 * and behind the colon what it prints, in several places between bars.
 */
export interface Answers {
  /** `qemu-img info`; `qcowal list`. */
  readonly open: string;
  readonly check: string;
  readonly create: string;
  /** `qemu-img check -r all`; `qcowal repair`. */
  readonly repair: string;
}

export interface Case extends Recipe {
  readonly name: string;
  readonly qemu: Answers;
  /** Requests that take qemu seconds, and are made in the long run only. */
  readonly slow?: readonly (keyof Answers)[];
  readonly ours: Answers & {
    /** `qcowal repair --drop-damaged-snapshots`, where the repair without it leaves damage. */
    readonly drop?: string;
  };
}

export const always = (answer: string): Answers => ({
  open: answer,
  check: answer,
  create: answer,
  repair: answer,
});

/** Both refuse whatever they are asked, in the same words. */
function refused(name: string, pokes: Pokes, words: string, more: Partial<Case> = {}): Case {
  const ours = { ...always(`IMAGE_INVALID: ${words}`), check: `1: ${words}` };
  return { name, base: "empty", pokes, qemu: always(`1: ${words}`), ours, ...more };
}

/** Neither opens it, and qemu never will; a count of all references makes new refcounts. */
function recounted(name: string, pokes: Pokes, words: string): Case {
  const row = refused(name, pokes, words);
  return { ...row, ours: { ...row.ours, repair: '0: "refcountBlocks":1,"refcountTable":true' } };
}

/** Neither opens it; a check of qemu's comes further. */
export function lost(
  name: string,
  recipe: Pick<Recipe, "pokes" | "table" | "version" | "lastExtra"> & { readonly base?: Recipe["base"] },
  words: string,
  { repair, slow, ours }: { repair: string; slow?: Case["slow"]; ours: Partial<Case["ours"]> },
): Case {
  const row = refused(name, recipe.pokes ?? {}, words);
  const check = `1: ${words.replace(/^Snapshot table (?=too large|offset)/, "snapshot table ")}`;
  return {
    ...row,
    ...recipe,
    base: recipe.base ?? "empty",
    qemu: { ...row.qemu, check, repair },
    ours: { ...row.ours, ...ours },
    ...(slow && { slow }),
  };
}

const FAR = 0xffff_ffff_ffff_0000n;
const ODD = 0x1234_5678_90ab_cdefn;
const LONG_EXTENSION = { extensionType: 0x1234_5678, extensionLength: 0x7fff_ffff };

export const HEADERS: readonly Case[] = [
  refused("header length 2^32 - 1", { headerLength: 0xffff_ffff }, "qcow2 header exceeds cluster size"),
  refused("header length 2^31 - 1", { headerLength: 0x7fff_ffff }, "qcow2 header exceeds cluster size"),
  refused(
    "backing name at 2^64 - 1",
    { backingOffset: 2n ** 64n - 1n, ...LONG_EXTENSION },
    "Invalid backing file offset",
  ),
  refused(
    "an extension that runs past the backing name",
    { backingOffset: 0x74, ...LONG_EXTENSION },
    "Header extension too large",
  ),
  refused("an extension that runs past the cluster", LONG_EXTENSION, "Header extension too large"),
  recounted(
    "refcount table of 2^32 - 1 clusters",
    { refcountTableClusters: 0xffff_ffff },
    "Reference count table too large",
  ),
  recounted(
    "refcount table of 0x20001 clusters",
    { refcountTableClusters: 0x2_0001 },
    "Reference count table too large",
  ),
  recounted(
    "refcount table at an odd place",
    { refcountTableOffset: ODD },
    "Reference count table offset invalid",
  ),
  recounted(
    "refcount table at the end of the world",
    { refcountTableOffset: FAR, refcountTableClusters: 0x7f },
    "Reference count table offset invalid",
  ),
  ...[0xffff_ffff, 0x7fff_ffff].map((snapshotCount) =>
    lost(`${snapshotCount} snapshots`, { pokes: { snapshotCount } }, "Snapshot table too large", {
      // It takes the header for entries, and leaves an image that it cannot open.
      repair: "1: Discarding",
      slow: ["repair"],
      // Every cluster has its owner: there never were any.
      ours: { repair: '0: "snapshotTable":true' },
    }),
  ),
  lost(
    "snapshot table at the end of the world",
    { pokes: { snapshotsOffset: FAR, snapshotCount: 0xffff } },
    "Snapshot table offset invalid",
    {
      repair: "1: snapshot table offset invalid",
      ours: { repair: '0: "snapshotTable":true' },
    },
  ),
  lost(
    "snapshot table at an odd place, although there are no snapshots",
    { pokes: { snapshotsOffset: ODD, snapshotCount: 0 } },
    "Snapshot table offset invalid",
    { repair: "1: snapshot table offset invalid", ours: { repair: '0: "snapshotTable":true' } },
  ),
  {
    name: "65536 snapshots behind the end of the file",
    base: "empty",
    pokes: { snapshotsOffset: 0x100_0000, snapshotCount: 0x1_0000 },
    qemu: {
      open: "0",
      check: "2: 65537 errors were found",
      create: "1: File too large",
      repair: "0: 65536 corruptions",
    },
    slow: ["open", "check", "repair"],
    ours: {
      open: "0",
      check: '2: "corruptions":65537',
      create: "LIMIT_EXCEEDED: has 65536 snapshots, the most that qcow2 allows",
      repair: '0: "snapshotTable":true',
    },
  },
  refused("L1 table of 2^32 - 1 entries", { l1Size: 0xffff_ffff }, "Active L1 table too large"),
  refused("L1 table of 2^31 - 1 entries", { l1Size: 0x7fff_ffff }, "Active L1 table too large"),
  refused(
    "L1 table at the end of the world",
    { l1Offset: 0x7fff_ffff_ffff_0000n, l1Size: 0xffff },
    "Active L1 table offset invalid",
  ),
  refused("L1 table at an odd place", { l1Offset: ODD, l1Size: 1 }, "Active L1 table offset invalid"),
  refused("L1 table without entries, and a snapshot", { l1Size: 0 }, "L1 table is too small", {
    base: "snapshot",
  }),
  refused(
    "backing name of 4 GiB",
    { backingOffset: 0x1000, backingSize: 0xffff_ffff },
    "Backing file name too long",
  ),
  {
    name: "L2 entry with reserved bits that points into the far distance",
    base: "data",
    pokes: { l2Entry: 0xbfff_ffff_ffff_0000n },
    qemu: {
      open: "0",
      check: "2: 3 errors were found | 1 leaked clusters",
      create: "1: File too large",
      // What the guest has there is leaked for it, and the damage stays.
      repair: "2: 1 leaked clusters | 2 errors were found",
    },
    ours: {
      open: "0",
      check: '2: "corruptions":3 | "leaks":1',
      create: "IMAGE_INVALID: L2 table at 0x40000: entry 0 is invalid",
      repair: "IMAGE_DAMAGED: entry 0 of the L2 table at 0x40000 is invalid",
    },
  },
  {
    name: "L2 entry that points behind every refcount block",
    base: "data",
    pokes: { l2Entry: 0x8000_00ff_ffff_0000n },
    qemu: {
      open: "0",
      check: "2: 2 errors were found | 1 leaked clusters",
      create: "1: Resource temporarily unavailable",
      repair: "2: 1 leaked clusters | 1 errors were found",
    },
    ours: {
      open: "0",
      check: '2: "corruptions":2 | "leaks":1',
      create: "IMAGE_INVALID: cluster 16777215 is in use but its refcount is 0",
      repair: "IMAGE_DAMAGED: entry 0 of the L2 table at 0x40000 points behind the end of the file",
    },
  },
  {
    name: "snapshot's L1 table at an odd place",
    base: "snapshot",
    pokes: { snapshotL1Offset: 0x40_0200 },
    qemu: {
      open: "0",
      check: "2: 1 errors were found | 3 leaked clusters",
      create: "0",
      // It frees what is the snapshot's.
      repair: "2: Repairing cluster 6 refcount=1 reference=0 | 1 errors were found",
    },
    ours: {
      open: "0",
      check: '2: "corruptions":1 | "leaks":3',
      create: "IMAGE_INVALID: L1 table offset invalid (0x400200)",
      repair: "3: ",
      drop: "0: ",
    },
  },
  {
    name: "snapshot's L1 table of 2^28 entries",
    base: "snapshot",
    pokes: { snapshotL1Size: 0x1000_0000 },
    qemu: {
      open: "0",
      check: "2: 1 errors were found | 3 leaked clusters",
      create: "1: Marking image as corrupt",
      repair: "2: Repairing cluster 6 refcount=1 reference=0 | 1 errors were found",
    },
    ours: {
      open: "0",
      check: '2: "corruptions":1 | "leaks":3',
      create: "IMAGE_INVALID: L1 table too large (268435456 entries)",
      repair: "3: ",
      drop: "0: ",
    },
  },
];
