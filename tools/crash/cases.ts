import type { Operation } from "../../src/plan/index.ts";
import { type Visible, expected, visible } from "../../test/support/model.ts";
import { recoverable } from "../../test/support/random-operation.ts";
import { type Random, mix32, seededRandom } from "../../test/support/random.ts";
import { type ImageSpec, makeImage, randomSpec } from "../image-maker/index.ts";

/** What is crashed: a transaction on images that a seed decides. */
export interface CrashCase {
  readonly seed: number;
  readonly images: Readonly<Record<string, Uint8Array>>;
  readonly operations: readonly Operation[];
  /** What image and operations are, for people. */
  readonly name: string;
  readonly random: Random;
}

/** The seed of the n-th case of a run: runs with other seeds share none of their cases by design. */
export const caseSeed = (seed: number, index: number): number => mix32(mix32(seed) + index);

/** Tiny clusters make states cheap; what needs larger ones (extended L2 entries) comes now and then. */
function clusterBits(random: Random): number {
  if (random.chance(0.9)) return 10;
  return random.chance(0.7) ? 12 : 14;
}

/** Shapes that chance seldom makes: refcount structures that are full, or nearly. */
function crowded(random: Random): ImageSpec {
  return {
    version: random.chance(0.5) ? 3 : 2,
    clusterBits: 9,
    virtualSize: 2 ** 20,
    snapshots: [{ name: "first", changes: [{ at: 0, count: 20 + random.int(30), kind: "data", seed: 1 }] }],
    active: { changes: [{ at: random.int(40), count: 1 + random.int(9), kind: "data", seed: 2 }] },
    placement: { order: random.pick(["sequential", "random"] as const), seed: random.int(1000) },
    room: { freeInLastRefcountBlock: random.int(4) },
  };
}

/** The table of 64 slots full as well: a new one has to be written, and the old one freed. */
function tableFull(random: Random): ImageSpec {
  return {
    version: 3,
    clusterBits: 9,
    refcountOrder: 6,
    virtualSize: 4 * 2 ** 20,
    snapshots: [{ name: "first", changes: [{ at: 0, count: 8, kind: "data", seed: 1 }] }],
    room: { freeInLastRefcountBlock: random.int(2), refcountTableFull: true },
  };
}

function specOf(random: Random): ImageSpec {
  if (random.chance(0.003)) return tableFull(random);
  return random.chance(0.06) ? crowded(random) : randomSpec(random, { maxClusterBits: clusterBits(random) });
}

/** Half of the bitmaps have their header extension over the end of the first sector, as QEMU's own header has it. */
function acrossSectors(spec: ImageSpec): ImageSpec {
  const isChosen = spec.bitmap !== undefined && (spec.bitmap.seed ?? 0) % 2 === 0 && spec.clusterBits > 9;
  return isChosen ? { ...spec, headerLength: 496, featureNames: false, extensions: [] } : spec;
}

/** What a state costs grows with the image: large ones are the exception. */
const LARGE_BYTES = 160 * 1024;

function imageOf(random: Random): [ImageSpec, Uint8Array] {
  for (;;) {
    const spec = acrossSectors(specOf(random));
    const bytes = makeImage(spec);
    if (bytes.length <= LARGE_BYTES || random.chance(0.1)) return [spec, bytes];
  }
}

/** A revert is refused as long as there are bitmaps. */
const dropBitmaps = (random: Random): { dropBitmaps?: true } =>
  random.chance(0.9) ? { dropBitmaps: true } : {};

/** A few operations that fit, each after the ones before it. */
function operationsOn(random: Random, image: string, start: Visible, count: number): Operation[] {
  const operations: Operation[] = [];
  let state = start;
  while (operations.length < count) {
    const label = `new ${operations.length}`;
    const chosen = state.snapshots.length === 0 ? undefined : random.pick(state.snapshots);
    const type =
      chosen === undefined
        ? "create"
        : random.pick(["create", "revert", "revert", "delete", "delete", "rename"] as const);
    // An id that occurs twice in the wild names nothing.
    const isUnique = state.snapshots.filter(({ id }) => id === chosen?.id).length === 1;
    const operation: Operation =
      type === "create" || chosen === undefined || !isUnique
        ? { type: "create", image, name: label }
        : type === "rename"
          ? { type, image, id: chosen.id, to: `other ${operations.length}` }
          : {
              type,
              image,
              id: chosen.id,
              ...(type === "revert" && state.bitmaps !== "" && dropBitmaps(random)),
              ...(type === "revert" && random.chance(0.25) && { keep: `kept ${operations.length}` }),
              ...(type === "delete" && recoverable(random, chosen.name)),
            };
    operations.push(operation);
    state = expected(state, operation);
  }
  return operations;
}

export function crashCase(seed: number): CrashCase {
  const random = seededRandom(seed);
  const count = random.chance(0.77) ? 1 : random.chance(0.8) ? 2 : 3;
  const images: Record<string, Uint8Array> = {};
  const operations: Operation[] = [];
  const names: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const path = `/memory/${index}.qcow2`;
    const [spec, bytes] = imageOf(random);
    const own = operationsOn(random, path, visible(bytes), random.chance(0.7) ? 1 : 2 + random.int(2));
    images[path] = bytes;
    operations.push(...own);
    names.push(`${own.map(({ type }) => type).join("+")} on ${describeSpec(spec, bytes)}`);
  }
  return { seed, images, operations, name: names.join(" and "), random };
}

function describeSpec(spec: ImageSpec, bytes: Uint8Array): string {
  const facts = [
    `v${spec.version}`,
    `clusters of ${2 ** spec.clusterBits}`,
    `${2 ** (spec.refcountOrder ?? 4)}-bit refcounts`,
    `${spec.snapshots?.length ?? 0} snapshots`,
    ...(spec.extendedL2 === true ? ["extended L2"] : []),
    ...(spec.bitmap === undefined ? [] : ["bitmap"]),
    ...(spec.room === undefined ? [] : ["refcounts full"]),
    `${bytes.length} bytes`,
  ];
  return facts.join(", ");
}
