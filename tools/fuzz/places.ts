import { type Place, headerFields } from "./header-fields.ts";
import { Target } from "./target.ts";

type Kind =
  "header" | "extension" | "l1" | "l2" | "bitmaps" | "snapshot" | "slot" | "refcount" | "crypto" | "owner";

/** What of an image is worth changing, found before anything is changed. */
export interface Places {
  readonly clusterSize: number;
  readonly byKind: ReadonlyMap<Kind, readonly Place[]>;
  /** Where structures begin: what a pointer can be turned to. */
  readonly structures: readonly number[];
}

const SNAPSHOT_FIELDS = [
  [0, 8],
  [8, 4],
  [12, 2],
  [14, 2],
  [16, 4],
  [20, 4],
  [24, 8],
  [32, 4],
  [36, 4],
  [40, 8],
  [48, 8],
  [56, 8],
] as const;

const CRYPTO = 0x0537_be77;
const FENCE = 0x7163_7761;
/** Of each table: those that are used, and some that are not. */
const MAX_ENTRIES = 256;

/** `bytes` are those of a sound image, fenced or not. */
export function placesIn(bytes: Uint8Array): Places {
  const target = new Target(bytes);
  const { clusterSize, l1Tables, snapshots, blocks, refcountTable, bitmaps } = target;
  const entries = (offset: number, count: number, step: 8 | 16 = 8): Place[] => {
    const all = Array.from({ length: count }, (_, index): Place => ({ at: offset + index * step, size: 8 }));
    const used = all.filter(({ at }) => target.u64(at) !== 0n).slice(0, MAX_ENTRIES);
    return [...used, ...all.filter(({ at }) => target.u64(at) === 0n).slice(0, 1 + used.length / 4)];
  };
  const l2Tables = [...new Set(target.l2Tables())];
  const l2 = l2Tables.flatMap((offset) =>
    entries(offset, clusterSize / (target.extended ? 16 : 8), target.extended ? 16 : 8),
  );
  const extensions = extensionsIn(target);
  const fields = (type: number, sizes: readonly (4 | 8)[]): Place[] => {
    const found = extensions.find((extension) => extension.type === type);
    let at = (found?.at ?? 0) + 8;
    return found === undefined ? [] : sizes.map((size) => ({ at: (at += size) - size, size }));
  };
  const owner = extensions.find(({ type }) => type === FENCE);
  const byKind = new Map<Kind, readonly Place[]>([
    ["header", headerFields(target.version)],
    [
      "extension",
      extensions.flatMap(({ at }): Place[] => [
        { at, size: 4 },
        { at: at + 4, size: 4 },
      ]),
    ],
    ["l1", l1Tables.flatMap(({ offset, entries: count }) => entries(offset, count))],
    ["l2", l2],
    [
      "bitmaps",
      bitmaps === undefined
        ? []
        : [
            ...fields(0x2385_2875, [4, 4, 8, 8]),
            ...([8, 4, 4, 1, 1, 2, 4] as const).map(fieldsFrom(bitmaps.directory)),
            ...entries(bitmaps.table, target.u32(bitmaps.directory + 8)),
          ],
    ],
    [
      "snapshot",
      snapshots.flatMap((entry) => SNAPSHOT_FIELDS.map(([at, size]) => ({ at: entry + at, size }))),
    ],
    ["slot", entries(refcountTable, clusterSize / 8)],
    ["refcount", blocks.flatMap((block) => refcountPlaces(target, block))],
    ["crypto", fields(CRYPTO, [8, 8])],
    ["owner", owner === undefined ? [] : textPlaces(owner.at + 8, target.u32(owner.at + 4))],
  ]);
  const structures = [
    0,
    refcountTable,
    ...blocks,
    ...l1Tables.map(({ offset }) => offset),
    ...l2Tables,
    Number(target.u64(64)),
    ...(bitmaps === undefined ? [] : [bitmaps.directory, bitmaps.table]),
    ...l2.slice(0, 4).map(({ at }) => Number(target.u64(at) & 0x00ff_ffff_ffff_fe00n)),
  ];
  return {
    clusterSize,
    byKind: new Map([...byKind].filter(([, places]) => places.length > 0)),
    structures: [...new Set(structures)].filter((offset) => offset < bytes.length),
  };
}

/** Consecutive fields, each behind the one before. */
function fieldsFrom(start: number): (size: 1 | 2 | 4 | 8) => Place {
  let at = start;
  return (size) => {
    at += size;
    return { at: at - size, size };
  };
}

function extensionsIn(target: Target): { type: number; at: number }[] {
  const found: { type: number; at: number }[] = [];
  const end = target.u64(8) === 0n ? target.clusterSize : Number(target.u64(8));
  for (let at = target.version === 2 ? 72 : target.u32(100); at + 8 <= end;) {
    const type = target.u32(at);
    found.push({ type, at });
    if (type === 0) break;
    at += 8 + Math.ceil(target.u32(at + 4) / 8) * 8;
  }
  return found;
}

/** Around the clusters that a small image has, and at the end of the block. */
function refcountPlaces({ clusterSize, refcountBits, bytes }: Target, block: number): Place[] {
  const size = Math.max(1, refcountBits / 8) as 1 | 2 | 4 | 8;
  const used = Math.ceil(((bytes.length / clusterSize) * refcountBits) / 8 / size);
  const count = Math.min(clusterSize / size, used + 2, MAX_ENTRIES);
  const places = Array.from({ length: count }, (_, index): Place => ({ at: block + index * size, size }));
  return [...places, { at: block + clusterSize - size, size }];
}

const textPlaces = (start: number, length: number): Place[] =>
  Array.from({ length }, (_, index) => ({ at: start + index, size: 1 }));
