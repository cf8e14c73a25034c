import { FIRST_SNAPSHOT, type State } from "./images/catalogue.ts";

/** What is measured: the same work, in our words and in qemu-img's. */
export interface BenchOperation {
  readonly name: string;
  readonly state: State;
  readonly ours: (image: string) => readonly string[];
  readonly qemu: (image: string) => readonly string[];
  /** The same through the API; without it, the operation is not one that a pool runs. */
  readonly type?: "create" | "revert" | "delete";
  readonly snapshot: string;
}

const create = (name: string, state: State): BenchOperation => ({
  name,
  state,
  type: "create",
  snapshot: "new",
  ours: (image) => ["create", "new", image],
  qemu: (image) => ["snapshot", "-c", "new", image],
});

const revert = (name: string, state: State, snapshot = FIRST_SNAPSHOT): BenchOperation => ({
  name,
  state,
  type: "revert",
  snapshot,
  ours: (image) => ["revert", snapshot, image],
  qemu: (image) => ["snapshot", "-a", snapshot, image],
});

const remove = (name: string, state: State, snapshot = FIRST_SNAPSHOT): BenchOperation => ({
  name,
  state,
  type: "delete",
  snapshot,
  ours: (image) => ["delete", snapshot, image],
  qemu: (image) => ["snapshot", "-d", snapshot, image],
});

const reads = (state: State): readonly BenchOperation[] => [
  {
    name: "list",
    state,
    snapshot: FIRST_SNAPSHOT,
    ours: (image) => ["list", image],
    qemu: (image) => ["snapshot", "-l", image],
  },
  {
    name: "check",
    state,
    snapshot: FIRST_SNAPSHOT,
    ours: (image) => ["check", image],
    qemu: (image) => ["check", image],
  },
];

export const OPERATIONS: readonly BenchOperation[] = [
  create("create, first", "plain"),
  create("create, second", "one snapshot"),
  revert("revert, 1 % changed", "1 % changed"),
  revert("revert, all changed", "all changed"),
  remove("delete, shared", "one snapshot"),
  remove("delete, exclusive", "all changed"),
  ...reads("one snapshot"),
];

/** On an image with many snapshots: one of the middle is as good as any. */
export const OPERATIONS_ON_MANY: readonly BenchOperation[] = [
  create("create, one more", "many snapshots"),
  revert("revert to the middle", "many snapshots", "s50"),
  remove("delete the middle", "many snapshots", "s50"),
  ...reads("many snapshots"),
];
