import type { Operation } from "../../../src/plan/index.ts";
import { join } from "node:path";
import { writeFile } from "node:fs/promises";
import { type ImageSpec, makeImage } from "../../../tools/image-maker/index.ts";
import { openPool } from "../../../src/index.ts";
import { shapes } from "../../interop/shapes.ts";
import { type Damage, damaged } from "../../support/damage.ts";
import type { Buildable, KillCase, TargetImage } from "./bench.ts";

function shape(name: string): Buildable {
  const found = shapes.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no image shape is called ${JSON.stringify(name)}`);
  return found;
}

/** The first snapshot with a name of its own. */
function snapshotOf({ before }: TargetImage): string {
  const names = before.snapshots.map(({ name }) => name);
  const name = names.find(
    (candidate) => candidate !== "" && names.indexOf(candidate) === names.lastIndexOf(candidate),
  );
  if (name === undefined) throw new Error("the image has no snapshot to choose");
  return name;
}

const create = ({ path }: TargetImage): Operation => ({ type: "create", image: path, name: "new" });
const revert = (target: TargetImage): Operation => ({
  type: "revert",
  image: target.path,
  name: snapshotOf(target),
});
const remove = (target: TargetImage): Operation => ({
  type: "delete",
  image: target.path,
  name: snapshotOf(target),
});

const rename = (target: TargetImage): Operation => ({
  type: "rename",
  image: target.path,
  name: snapshotOf(target),
  to: "renamed",
});

const VERBS = {
  create: [create],
  revert: [revert],
  delete: [remove],
  rename: [rename],
  rotate: [create, remove],
} as const;
export type Verb = keyof typeof VERBS;

/** One operation, or two as one transaction, on images of these shapes. */
export function killCase(verb: Verb, ...names: readonly string[]): KillCase {
  return {
    name: `${verb} on ${names.join(" and ")}`,
    shapes: names.map(shape),
    operations: (images) => images.flatMap((image) => VERBS[verb].map((operation) => operation(image))),
  };
}

/** Clusters of one, two and three owners, stale flags in the snapshots' L1 tables, and something wrong. */
function damagedShape(damage: Damage, version: 2 | 3, clusterBits: number): Buildable {
  const data = (at: number) => ({ at, count: 4, kind: "data", seed: at + 3 }) as const;
  const spec: ImageSpec = {
    version,
    clusterBits,
    virtualSize: 32 << clusterBits,
    snapshotCopiedFlags: "set",
    snapshots: [
      { name: "one", changes: [data(0)] },
      { name: "two", changes: [data(4)] },
    ],
    active: { changes: [data(8)] },
  };
  const name = `${damage}, version ${version}, clusters of ${2 ** clusterBits}`;
  return {
    name,
    build: async (dir) => {
      const path = join(dir, "damaged.qcow2");
      await writeFile(path, damaged(makeImage(spec), damage));
      return path;
    },
  };
}

/** A repair of images of these shapes as one transaction. */
function repairCase(harden: boolean, ...damages: readonly Buildable[]): KillCase {
  return {
    name: `repair${harden ? " and harden" : ""}: ${damages.map(({ name }) => name).join(" and ")}`,
    shapes: damages,
    operations: (images) => images.map(({ path }) => ({ type: "repair", image: path, harden })),
  };
}

/** A delete, or a revert, on an image that was hardened before. */
function hardenedCase(verb: "revert" | "delete", version: 2 | 3, clusterBits: number): KillCase {
  const { name, build } = damagedShape("none", version, clusterBits);
  const hardened: Buildable = {
    name: `hardened ${name}`,
    build: async (dir, random) => {
      const path = await build(dir, random);
      await using pool = await openPool(join(dir, "journal of the hardening"));
      await pool.repair(path, { harden: true });
      return path;
    },
  };
  const operation = VERBS[verb][0];
  return {
    name: `${verb} on ${hardened.name}`,
    shapes: [hardened],
    operations: (images) => images.map((image) => operation(image)),
  };
}

/** What every run tries of repairs: all refcounts and flags at once, and structures that are written anew. */
export const REPAIR_CASES: readonly KillCase[] = [
  repairCase(true, damagedShape("refcounts and flags", 3, 12)),
  repairCase(false, damagedShape("block named twice", 3, 12)),
];

/** With `QCOWAL_KILL_ALL=1`. */
export const ALL_REPAIR_CASES: readonly KillCase[] = [
  ...REPAIR_CASES,
  ...([2, 3] as const).flatMap((version) =>
    [12, 16].flatMap((bits) => [
      ...(["leaks", "refcounts and flags", "missing block", "block behind the end"] as const).map((damage) =>
        repairCase(false, damagedShape(damage, version, bits)),
      ),
      repairCase(true, damagedShape("none", version, bits)),
      hardenedCase("revert", version, bits),
      hardenedCase("delete", version, bits),
    ]),
  ),
  repairCase(true, damagedShape("refcounts and flags", 3, 16), damagedShape("missing block", 2, 12)),
];

const PLAIN = "1.1 cluster 64K refcount 16";

/** What every run tries: each operation, and each kind of growth; the states in between are the crash lab's. */
export const CASES: readonly KillCase[] = [
  killCase("create", "refcount block full"),
  killCase("revert", "grown between snapshots"),
  killCase("delete", "compressed zlib 4K"),
  killCase("create", "1.1 cluster 512 refcount 4", PLAIN),
  killCase("rotate", "0.10 cluster 4K refcount 16"),
];

/** For the table that compares the command with qemu-img. */
export const TABLE_SHAPES: readonly string[] = [
  PLAIN,
  "1.1 cluster 4K refcount 16",
  "1.1 cluster 512 refcount 16",
  "0.10 cluster 64K refcount 16",
  "compressed zlib 4K",
  "extended L2 16K",
  "grown between snapshots",
  "fragmented 512",
];

const MANY: readonly string[] = [
  PLAIN,
  "1.1 cluster 4K refcount 16",
  "1.1 cluster 512 refcount 16",
  "1.1 cluster 512 refcount 64",
  "1.1 cluster 1K refcount 2",
  "1.1 cluster 2M refcount 16",
  "0.10 cluster 64K refcount 16",
  "0.10 cluster 4K refcount 16",
  "0.10 cluster 512 refcount 16",
  "compressed zlib 4K",
  "compressed zstd 64K",
  "compressed zlib 0.10",
  "zero clusters allocated",
  "extended L2 16K",
  "extended L2 64K",
  "refcount block full",
  "grown between snapshots",
  "shrunk between snapshots",
  "VM state",
  "snapshot table over many clusters",
  "fragmented 512",
  "backing qcow2",
];

/** With `QCOWAL_KILL_ALL=1`. */
export const ALL_CASES: readonly KillCase[] = [
  ...CASES,
  ...MANY.flatMap((name) => (["create", "revert", "delete"] as const).map((verb) => killCase(verb, name))),
  ...["refcount block nearly full", "refcount table nearly full", "refcount table full"].map((name) =>
    killCase("create", name),
  ),
  ...TABLE_SHAPES.flatMap((name) => (["rename", "rotate"] as const).map((verb) => killCase(verb, name))),
].filter((killCase, index, all) => all.findIndex(({ name }) => name === killCase.name) === index);
