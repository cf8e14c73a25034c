/**
 * Makes hostile images: fields of structures set to what a bug, a disk or
 * somebody with bad intent would put there, and bytes that fell at random.
 */
import type { Random } from "../image-maker/index.ts";
import type { Place } from "./header-fields.ts";
import type { Places } from "./places.ts";

const COPIED = 1n << 63n;
const COMPRESSED = 1n << 62n;

interface Victim {
  bytes: Uint8Array;
  readonly places: Places;
}

function get({ bytes }: Victim, { at, size }: Place): bigint {
  let value = 0n;
  for (let index = at; index < at + size; index += 1) value = (value << 8n) | BigInt(bytes[index] ?? 0);
  return value;
}

function put({ bytes }: Victim, { at, size }: Place, value: bigint): void {
  for (let byte = 0; byte < size; byte += 1) {
    const index = at + size - 1 - byte;
    if (index < bytes.length) bytes[index] = Number((value >> BigInt(8 * byte)) & 0xffn);
  }
}

/** Numbers at which something overflows, wraps or is compared. */
const BOUNDARIES: readonly bigint[] = [
  0n,
  1n,
  2n,
  511n,
  512n,
  0xffn,
  0xffffn,
  0x1_0000n,
  0x1_0001n,
  0x40_0000n,
  0x40_0001n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  1n << 32n,
  1n << 40n,
  (1n << 53n) - 1n,
  1n << 53n,
  (1n << 53n) - 512n,
  (1n << 56n) - 512n,
  1n << 56n,
  0x1234_5678_90ab_cdefn,
  0x7fff_ffff_ffff_0000n,
  (1n << 63n) - 1n,
  1n << 63n,
  0xffff_ffff_ffff_0000n,
  (1n << 64n) - 1n,
];

function pointer({ bytes, places }: Victim, random: Random): bigint {
  const size = BigInt(places.clusterSize);
  const clusters = Math.ceil(bytes.length / places.clusterSize);
  const cluster = BigInt(random.int(clusters + 2)) * size;
  switch (random.int(8)) {
    case 0:
    case 1:
    case 2:
      return BigInt(random.pick(places.structures));
    case 3:
      return cluster;
    case 4:
      return cluster + 512n * BigInt(1 + random.int(3));
    case 5:
      return cluster + BigInt(random.int(512));
    case 6:
      return BigInt(clusters + random.int(5)) * size;
    default:
      return (BigInt(random.int(2 ** 16)) << BigInt(random.int(48))) * size;
  }
}

/** Another value for a field: near the old one, a boundary, or where something else is. */
function hostile(victim: Victim, place: Place, random: Random): bigint {
  const value = get(victim, place);
  const bits = place.size * 8;
  switch (random.int(9)) {
    case 0:
      return value ^ (1n << BigInt(random.int(bits)));
    case 1:
      return value + BigInt(random.int(17) - 8);
    case 2:
      return value + BigInt(random.int(9) - 4) * BigInt(victim.places.clusterSize);
    case 3:
      return random.pick(BOUNDARIES);
    case 4:
      return BigInt(random.int(2 ** 32)) << BigInt(random.int(33));
    case 5:
      // To itself.
      return BigInt(place.at - (place.at % victim.places.clusterSize));
    default: {
      const flags = [0n, COPIED, COPIED, COMPRESSED, 1n][random.int(5)] ?? 0n;
      return pointer(victim, random) | (place.size === 8 ? flags : 0n);
    }
  }
}

function somePlace({ places }: Victim, random: Random): Place {
  return random.pick(random.pick([...places.byKind.values()]));
}

type Mutation = (victim: Victim, random: Random) => void;

const field: Mutation = (victim, random) => {
  const place = somePlace(victim, random);
  put(victim, place, hostile(victim, place, random));
};

/** A row of entries that say the same, or count up. */
const run: Mutation = (victim, random) => {
  const places = random.pick([...victim.places.byKind.values()]);
  const first = random.int(places.length);
  const place = places[first];
  if (place === undefined) return;
  const value = hostile(victim, place, random);
  const step = random.pick([0n, 0n, BigInt(victim.places.clusterSize), 1n]);
  for (let index = 0; index < 2 + random.int(16); index += 1) {
    const next = places[first + index];
    if (next?.size === place.size) put(victim, next, value + step * BigInt(index));
  }
};

const swap: Mutation = (victim, random) => {
  const places = random.pick([...victim.places.byKind.values()]);
  const [one, other] = [random.pick(places), random.pick(places)];
  const [first, second] = [get(victim, one), get(victim, other)];
  put(victim, one, second);
  put(victim, other, first);
};

/** One entry takes what another structure has. */
const borrow: Mutation = (victim, random) => {
  const from = somePlace(victim, random);
  put(victim, somePlace(victim, random), get(victim, from));
};

const copyCluster: Mutation = ({ bytes, places }, random) => {
  const { clusterSize, structures } = places;
  const from = random.pick(structures);
  const to = random.chance(0.5)
    ? random.pick(structures)
    : random.int(bytes.length / clusterSize) * clusterSize;
  if (from < bytes.length && to < bytes.length) bytes.copyWithin(to, from, from + clusterSize);
};

const fillCluster: Mutation = ({ bytes, places }, random) => {
  const at = random.pick(places.structures);
  const part = random.chance(0.5) ? 512 : places.clusterSize;
  bytes.fill(random.pick([0, 0, 0xff, 0x80, 1]), at, Math.min(bytes.length, at + part));
};

const length: Mutation = (victim, random) => {
  const { bytes, places } = victim;
  const { clusterSize } = places;
  const size = random.chance(0.5)
    ? bytes.length + random.pick([-1, -100, -512, 512, 100, -clusterSize, clusterSize, -3 * clusterSize])
    : random.chance(0.5)
      ? random.int(bytes.length)
      : random.pick(places.structures) + random.pick([0, 1, 8, 512]);
  const resized = new Uint8Array(Math.max(0, size));
  resized.set(bytes.subarray(0, resized.length));
  victim.bytes = resized;
};

const anyByte: Mutation = ({ bytes }, random) => {
  if (bytes.length > 0) bytes[random.int(bytes.length)] = random.int(256);
};

const headerByte: Mutation = ({ bytes }, random) => {
  const at = 4 + random.int(Math.min(508, bytes.length));
  if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.int(8));
};

const MUTATIONS: readonly Mutation[] = [
  ...Array.from({ length: 16 }, () => field),
  run,
  run,
  run,
  swap,
  borrow,
  borrow,
  copyCluster,
  fillCluster,
  length,
  anyByte,
  anyByte,
  headerByte,
];

/** A copy with one to several wounds. */
export function mutated(bytes: Uint8Array, places: Places, random: Random): Uint8Array {
  const victim: Victim = { bytes: new Uint8Array(bytes), places };
  const wounds = 1 + random.int(random.chance(0.2) ? 8 : 3);
  for (let left = wounds; left > 0; left -= 1) random.pick(MUTATIONS)(victim, random);
  return victim.bytes;
}
