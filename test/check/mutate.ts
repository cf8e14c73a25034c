/**
 * Damages the metadata of an image the way a bug or a disk would, knowing where
 * what is: bytes picked at random would mostly hit data, which no check reads.
 */
import { type Place, headerFields } from "../../tools/fuzz/header-fields.ts";
import { Target } from "../../tools/fuzz/target.ts";
import type { Random } from "../support/random.ts";

type Mutation = (image: Target, random: Random) => void;

/** Another value for a 64-bit entry: near it, far away, or with one bit turned. */
function changedEntry({ bytes, clusterSize }: Target, random: Random, entry: bigint): bigint {
  const clusters = Math.ceil(bytes.length / clusterSize);
  const someCluster = BigInt(random.int(clusters + 2)) * BigInt(clusterSize);
  const copied = 1n << 63n;
  switch (random.int(10)) {
    case 0:
    case 1:
      return entry ^ copied;
    case 2:
      return 0n;
    case 3:
      return someCluster | (random.chance(0.5) ? copied : 0n);
    case 4:
      return someCluster + 512n;
    case 5:
      return entry ^ (1n << 62n);
    case 6:
      return entry + BigInt(clusterSize) * BigInt(random.int(5) - 2);
    case 7:
      return BigInt(random.int(2 ** 20)) << BigInt(random.int(45));
    default:
      return entry ^ (1n << BigInt(random.int(64)));
  }
}

const refcount: Mutation = (image, random) => {
  const { blocks, refcountBits, clusterSize, bytes } = image;
  if (blocks.length === 0) return;
  const clusters = Math.ceil(bytes.length / clusterSize);
  const perBlock = (clusterSize * 8) / refcountBits;
  const cluster = random.int(clusters + (random.chance(0.2) ? perBlock : 1));
  const block = blocks[Math.floor(cluster / perBlock)];
  if (block === undefined) return;
  const bit = (cluster % perBlock) * refcountBits;
  const at = block + Math.floor(bit / 8);
  if (refcountBits < 8) {
    const mask = (2 ** refcountBits - 1) << (bit & 7);
    image.put(at, 1, BigInt((bytes[at] ?? 0) ^ (mask & random.int(256))));
    return;
  }
  const value = BigInt(random.pick([0, 0, 1, 1, 2, 3, 255, random.int(2 ** 32)]));
  image.put(at, (refcountBits / 8) as 1 | 2 | 4 | 8, value);
};

const l1Entry: Mutation = (image, random) => {
  const { offset, entries } = random.pick(image.l1Tables);
  const at = offset + 8 * random.int(entries);
  image.put(at, 8, changedEntry(image, random, image.u64(at)));
};

const l2Entry: Mutation = (image, random) => {
  const tables = image.l2Tables();
  if (tables.length === 0) return;
  const table = random.pick(tables);
  const step = image.extended ? 16 : 8;
  const entries = Array.from({ length: image.clusterSize / step }, (_, index) => table + index * step);
  const used = entries.filter((at) => image.u64(at) !== 0n);
  const at = random.pick(used.length > 0 && random.chance(0.8) ? used : entries);
  if (image.extended && random.chance(0.3)) image.put(at + 8 + random.int(8), 1, BigInt(random.int(256)));
  else image.put(at, 8, changedEntry(image, random, image.u64(at)));
};

const slot: Mutation = (image, random) => {
  const at = image.refcountTable + 8 * random.int(Math.min(4, image.blocks.length + 1));
  image.put(at, 8, changedEntry(image, random, image.u64(at)));
};

/** What the version says is no matter of a check, nor how data is compressed. */
const isChecked = ({ at }: Place): boolean => at !== 4 && at !== 104;

const headerField: Mutation = (image, random) => {
  const { at, size } = random.pick(headerFields(image.version).filter(isChecked));
  const value = size === 8 ? image.u64(at) : BigInt(image.u32(at));
  const step = at === 40 || at === 48 || at === 64 ? BigInt(image.clusterSize) : 1n;
  const values = [
    value + step,
    value - step,
    value + step * BigInt(random.int(8)),
    0n,
    step,
    value ^ (1n << BigInt(random.int(size * 8))),
    BigInt(random.int(2 ** 32)),
  ];
  image.put(at, size, BigInt.asUintN(size * 8, random.pick(values)));
};

const SNAPSHOT_FIELDS: readonly (readonly [offset: number, size: 2 | 4 | 8])[] = [
  [0, 8],
  [8, 4],
  [12, 2],
  [14, 2],
  [36, 4],
];

const snapshotEntry: Mutation = (image, random) => {
  if (image.snapshots.length === 0) return;
  const entry = random.pick(image.snapshots);
  const [offset, size] = random.pick(SNAPSHOT_FIELDS);
  const at = entry + offset;
  if (size === 8) {
    image.put(at, 8, changedEntry(image, random, image.u64(at)));
    return;
  }
  const value = size === 4 ? BigInt(image.u32(at)) : BigInt(image.u32(at) >>> 16);
  const near = value + BigInt(random.int(17) - 8);
  image.put(
    at,
    size,
    BigInt.asUintN(size * 8, random.pick([near, near, 0n, value ^ (1n << BigInt(random.int(size * 8)))])),
  );
};

const bitmap: Mutation = (image, random) => {
  if (image.bitmaps === undefined) return;
  const { extension, directory, table } = image.bitmaps;
  const at = random.pick([extension + 8 * random.int(4), directory + random.int(28), table + random.int(8)]);
  image.put(at, 1, BigInt((image.bytes[at] ?? 0) ^ (1 << random.int(8))));
};

const length: Mutation = (image, random) => {
  const { bytes, clusterSize } = image;
  const size = bytes.length + random.pick([-512, 512, -clusterSize, clusterSize, -3 * clusterSize, 100]);
  const resized = new Uint8Array(Math.max(1024, size));
  resized.set(bytes.subarray(0, resized.length));
  image.bytes = resized;
};

const anyByte: Mutation = (image, random) => {
  const at = 72 + random.int(image.bytes.length - 72);
  image.put(at, 1, BigInt(random.int(256)));
};

const MUTATIONS: readonly Mutation[] = [
  ...Array.from({ length: 6 }, () => refcount),
  ...Array.from({ length: 5 }, () => l1Entry),
  ...Array.from({ length: 7 }, () => l2Entry),
  slot,
  slot,
  headerField,
  headerField,
  snapshotEntry,
  snapshotEntry,
  bitmap,
  length,
  anyByte,
];

/** A copy of the image with one to four wounds. */
export function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  const image = new Target(bytes.slice());
  for (let left = 1 + random.int(random.chance(0.3) ? 4 : 2); left > 0; left -= 1) {
    random.pick(MUTATIONS)(image, random);
  }
  return image.bytes;
}
