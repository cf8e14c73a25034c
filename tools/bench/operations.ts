import type { Operation } from "../../src/index.ts";
import { FIRST_SNAPSHOT, type State } from "./images/catalogue.ts";

/** An operation without its image. */
export interface Change {
  readonly type: "create" | "revert" | "delete";
  readonly name: string;
}

/** What is measured: the same work, in our words and in qemu-img's. */
export interface BenchOperation {
  readonly name: string;
  readonly state: State;
  /** Of which ours makes one transaction; empty for what only reads. */
  readonly changes: readonly Change[];
  /** `batch` is a file with the operations, for `qcowal run`. */
  readonly ours: (image: string, batch: string) => readonly string[];
  /** As many commands as it takes, one after the other. */
  readonly qemu: (image: string) => readonly (readonly string[])[];
}

export const operationsOn = (image: string, changes: readonly Change[]): Operation[] =>
  changes.map(({ type, name }) => ({ type, image, name }));

const QEMU_FLAGS = { create: "-c", revert: "-a", delete: "-d" } as const;

const qemuCommands = (image: string, changes: readonly Change[]): string[][] =>
  changes.map(({ type, name }) => ["snapshot", QEMU_FLAGS[type], name, image]);

function one(name: string, state: State, type: Change["type"], snapshot: string): BenchOperation {
  const changes = [{ type, name: snapshot }];
  return {
    name,
    state,
    changes,
    ours: (image) => [type, snapshot, image],
    qemu: (image) => qemuCommands(image, changes),
  };
}

const create = (name: string, state: State): BenchOperation => one(name, state, "create", "new");

const revert = (name: string, state: State, snapshot = FIRST_SNAPSHOT): BenchOperation =>
  one(name, state, "revert", snapshot);

const remove = (name: string, state: State, snapshot = FIRST_SNAPSHOT): BenchOperation =>
  one(name, state, "delete", snapshot);

/** One is taken and the oldest goes, as a schedule does it. */
function rotate(name: string, state: State): BenchOperation {
  const changes: Change[] = [
    { type: "create", name: "new" },
    { type: "delete", name: FIRST_SNAPSHOT },
  ];
  return {
    name,
    state,
    changes,
    ours: (_, batch) => ["run", batch],
    qemu: (image) => qemuCommands(image, changes),
  };
}

/** The oldest go together. */
function removeOldest(name: string, state: State, count: number): BenchOperation {
  const changes = Array.from({ length: count }, (_, index): Change => ({
    type: "delete",
    name: `s${index + 1}`,
  }));
  return {
    name,
    state,
    changes,
    ours: (image) => ["delete", ...changes.flatMap((change) => ["--name", change.name]), image],
    qemu: (image) => qemuCommands(image, changes),
  };
}

const reads = (state: State): readonly BenchOperation[] => [
  {
    name: "list",
    state,
    changes: [],
    ours: (image) => ["list", image],
    qemu: (image) => [["snapshot", "-l", image]],
  },
  {
    name: "check",
    state,
    changes: [],
    ours: (image) => ["check", image],
    qemu: (image) => [["check", image]],
  },
];

export const OPERATIONS: readonly BenchOperation[] = [
  create("create, first", "plain"),
  create("create, second", "one snapshot"),
  revert("revert, 1 % changed", "1 % changed"),
  revert("revert, all changed", "all changed"),
  revert("revert, all changed in order", "all changed in order"),
  remove("delete, shared", "one snapshot"),
  remove("delete, exclusive", "all changed"),
  rotate("rotate, 1 % changed", "1 % changed"),
  ...reads("one snapshot"),
];

/** On an image with many snapshots: one of the middle is as good as any. */
export const OPERATIONS_ON_MANY: readonly BenchOperation[] = [
  create("create, one more", "many snapshots"),
  revert("revert to the middle", "many snapshots", "s50"),
  remove("delete the middle", "many snapshots", "s50"),
  rotate("rotate", "many snapshots"),
  removeOldest("delete 30", "many snapshots", 30),
  ...reads("many snapshots"),
];
