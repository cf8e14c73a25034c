import { type Case, always, lost } from "./malformed-cases.ts";
import type { Recipe } from "./malformed-images.ts";

/** As many as exceed 64 MiB by one. */
const LONG_ENTRY = [1024, 65_535, 65_535] as const;
const long = (count: number): (typeof LONG_ENTRY)[] => Array.from({ length: count }, () => LONG_ENTRY);
const EMPTY = [0, 0, 0] as const;

const OVERHANGING = "IMAGE_DAMAGED: of the snapshot table where QEMU does not read";

/** An image of version 2 that pretends to be of version 3, where such entries are not whole. */
export const PRETENDED_V3: Recipe = {
  base: "three",
  version: 2,
  pokes: { version: 3, refcountOrder: 4, headerLength: 104 },
};

export const SNAPSHOT_TABLES: readonly Case[] = [
  {
    name: "old entries in version 2",
    base: "three",
    version: 2,
    qemu: always("0"),
    ours: always("0"),
  },
  { name: "old entries, amended to version 3", base: "three", qemu: always("0"), ours: always("0") },
  {
    name: "old entries in version 3",
    ...PRETENDED_V3,
    qemu: {
      open: "0",
      check: "2: entry 0 is incomplete | entry 2 is incomplete | 2 errors were found",
      create: "0",
      repair: "0: 2 corruptions",
    },
    ours: { open: "0", check: '2: "corruptions":2', create: "0", repair: '0: "snapshotEntries":2' },
  },
  lost(
    "64 KiB of extra data",
    { base: "four", lastExtra: 65_536 },
    "Too much extra metadata in snapshot table entry 3",
    {
      repair:
        "0: Discarding too much extra metadata in snapshot table entry 3 (65536 > 1024) | cluster 10 refcount=0 reference=1 | 2 corruptions",
      // The id and the name lie where the file has ended: to keep that entry is to make them up.
      ours: {
        repair: "IMAGE_DAMAGED: 1 entry of the snapshot table behind the end of the file",
        drop: '0: "snapshotEntriesLost":1',
      },
    },
  ),
  lost(
    "a table that one entry of 508 takes over 64 MiB",
    { table: { entries: long(508), withL1: 507 } },
    "Snapshot table is too big",
    {
      repair: "0: Discarding 1 overhanging snapshots | 4 leaked clusters | 1 corruptions",
      ours: { repair: OVERHANGING, drop: "0: " },
    },
  ),
  lost(
    "a table that extra data takes over 64 MiB, and the last entry as well",
    { table: { entries: [...long(505), [116_944, 65_535, 65_535], ...long(2)] } },
    "Too much extra metadata in snapshot table entry 505",
    {
      repair: "0: Discarding 1 overhanging snapshots | 2 leaked clusters | 2 corruptions",
      ours: { repair: OVERHANGING, drop: "0: " },
    },
  ),
  lost(
    "131072 snapshots",
    { version: 2, table: { entries: Array.from({ length: 131_072 }, () => EMPTY), withL1: 65_536 } },
    "Snapshot table too large",
    {
      repair: "0: Discarding 65536 overhanging snapshots | 42 leaked clusters | 65536 corruptions",
      slow: ["repair"],
      ours: {
        repair: "IMAGE_DAMAGED: no table was found for the 131072 snapshots that the header counts",
        drop: "0: ",
      },
    },
  ),
];
