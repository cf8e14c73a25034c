import type { Operation } from "../../../src/plan/index.ts";
import { shapes } from "../../interop/shapes.ts";
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

const VERBS = { create: [create], revert: [revert], delete: [remove], rotate: [create, remove] } as const;
export type Verb = keyof typeof VERBS;

/** One operation, or two as one transaction, on images of these shapes. */
export function killCase(verb: Verb, ...names: readonly string[]): KillCase {
  return {
    name: `${verb} on ${names.join(" and ")}`,
    shapes: names.map(shape),
    operations: (images) => images.flatMap((image) => VERBS[verb].map((operation) => operation(image))),
  };
}

const PLAIN = "1.1 cluster 64K refcount 16";

/** What every run tries: each operation, and each kind of growth; the states in between are the crash lab's. */
export const CASES: readonly KillCase[] = [
  killCase("create", "refcount block full"),
  killCase("revert", "grown between snapshots"),
  killCase("delete", "compressed zlib 4K"),
  killCase("create", "1.1 cluster 512 refcount 4", PLAIN),
  killCase("rotate", "0.10 cluster 4K refcount 16"),
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
].filter((killCase, index, all) => all.findIndex(({ name }) => name === killCase.name) === index);

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
