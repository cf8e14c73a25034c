/**
 * The snapshots of an image as a tree, which qcow2 does not store: a fold over
 * the entries of its timeline. It says what the record knows and no more: of a
 * snapshot that others took nobody knows what it was taken from, and after they
 * were at work nobody knows where the disk stands.
 */
import type { Actor, Observation } from "../engine/index.ts";
import type { SnapshotFacts } from "../image/index.ts";
import type { OperationOutcome } from "../plan/index.ts";
import type { HistoryEntry, HistoryImage } from "./entry.ts";
import { imageIn } from "./image-names.ts";

/** Something that happened to a snapshot. Times are milliseconds since 1970. */
export interface SnapshotEvent {
  readonly transaction: number;
  readonly time: number;
  /** Absent where others did it, and only its traces were seen. */
  readonly actor?: Actor;
  readonly reason?: string;
}

export interface SnapshotRename extends SnapshotEvent {
  readonly from: string;
  readonly to: string;
}

/**
 * What a disk was made from: the key of a snapshot, null for the disk as it was
 * before there was any, undefined when the record cannot know.
 */
export type Ancestor = string | null | undefined;

export interface SnapshotNode {
  /** Its own for ever, unlike an id, which qcow2 gives again: the transaction that brought it, and which of its snapshots. */
  readonly key: string;
  readonly snapshot: SnapshotFacts;
  /** Taken through this record, or found in the image. */
  readonly origin: "created" | "found";
  /** A schedule took it, not a person. */
  readonly auto?: true;
  /** Who asked that it stays, and has not released it; absent where nobody did. */
  readonly holds?: readonly SnapshotHold[];
  readonly came: SnapshotEvent;
  readonly parent: Ancestor;
  readonly reverts: readonly SnapshotEvent[];
  /** Oldest first; `snapshot` has the name that it got last. */
  readonly renames: readonly SnapshotRename[];
  readonly gone?: SnapshotEvent & {
    /** `dropped` by a repair, `vanished` when others deleted it, `replaced` with the whole file. */
    readonly how: "deleted" | "dropped" | "vanished" | "replaced";
  };
}

export interface SnapshotHold extends SnapshotEvent {
  readonly tag: string;
}

export interface SnapshotTree {
  /** Every snapshot that ever was, in the order in which the record learned of them. */
  readonly nodes: readonly SnapshotNode[];
  /** Keys of those that are there, in the order of the snapshot table. */
  readonly live: readonly string[];
  /** How many more there are, of which the record knows no name. */
  readonly unlisted: number;
  /** What the active layer was made from. */
  readonly current: Ancestor;
  /** Number and time of the newest entry that tells; undefined when the record knows nothing of the image. */
  readonly asOf: { readonly transaction: number; readonly time: number } | undefined;
}

/** `entries` is the timeline of the image at the resolved path `image`, oldest first, or its beginning. */
export function snapshotTree(entries: readonly HistoryEntry[], image: string): SnapshotTree {
  const find = imageIn(entries, image);
  const fold = new TreeFold();
  for (const entry of entries) {
    const part = find(entry);
    if (part !== undefined) fold.add(entry, part);
  }
  return fold.tree();
}

/** Those that are there, in the order of the snapshot table. */
export function liveNodes({ nodes, live }: Pick<SnapshotTree, "nodes" | "live">): SnapshotNode[] {
  const byKey = new Map(nodes.map((node) => [node.key, node]));
  return live.flatMap((key) => byKey.get(key) ?? []);
}

type Draft = { -readonly [Field in keyof SnapshotNode]: SnapshotNode[Field] } & {
  reverts: SnapshotEvent[];
  renames: SnapshotRename[];
};

class TreeFold {
  readonly #nodes: Draft[] = [];
  /** By id and name: an image may have 65,536, and qcow2 gives ids again. */
  readonly #namesakes = new Map<string, Draft[]>();
  #live: Draft[] = [];
  #unlisted = 0;
  #current: Ancestor = undefined;
  #asOf: SnapshotTree["asOf"];
  /** Snapshots that each transaction brought. */
  readonly #counts = new Map<number, number>();
  /** Where the disk stood after each entry: a backup brings that back. */
  readonly #stood = new Map<number, Ancestor>();

  add(entry: HistoryEntry, part: HistoryImage): void {
    const { status, transaction, began, ended = began } = entry;
    if (part.observed !== undefined) this.#observe(entry, part.observed);
    if (status === "done" || status === "finished by recovery") {
      for (const outcome of part.outcomes) this.#apply(entry, outcome);
    }
    if (entry.hold !== undefined) this.#hold(entry, entry.hold);
    // Whether it took effect only the image can tell, when it is opened next.
    if (status === "unconfirmed") this.#current = undefined;
    this.#asOf = { transaction, time: ended };
    this.#stood.set(transaction, this.#current);
  }

  tree(): SnapshotTree {
    return {
      nodes: this.#nodes,
      live: this.#live.map(({ key }) => key),
      unlisted: this.#unlisted,
      current: this.#current,
      asOf: this.#asOf,
    };
  }

  #apply(entry: HistoryEntry, outcome: OperationOutcome): void {
    // The disk holds something else, and stands where it stood: a snapshot that is taken of it comes after that.
    if (outcome.type === "receive") {
      if (outcome.from === null) this.#current = null;
      return;
    }
    if (outcome.type === "repair") {
      for (const dropped of outcome.mended.snapshotsDropped) this.#remove(entry, dropped, "dropped");
      return;
    }
    const { type, snapshot, to } = outcome;
    if (type === "delete" && to === undefined) this.#remove(entry, snapshot, "deleted");
    if (type === "create") {
      const node = this.#bring(entry, snapshot, "created", this.#current);
      if (outcome.auto === true) node.auto = true;
      this.#live.push(node);
      this.#current = node.key;
    }
    if (to !== undefined) this.#rename(entry, snapshot, to);
    if (type === "revert") {
      const node = this.#findLive(snapshot);
      node?.reverts.push(eventOf(entry));
      this.#current = node?.key;
    }
  }

  /** A tag is one hold: the newest. */
  #hold(entry: HistoryEntry, { snapshot, tag }: NonNullable<HistoryEntry["hold"]>): void {
    const node = this.#findLive(snapshot);
    if (node === undefined) return;
    const others = (node.holds ?? []).filter((hold) => hold.tag !== tag);
    const holds = entry.status === "held" ? [...others, { ...eventOf(entry), tag }] : others;
    if (holds.length > 0) node.holds = holds;
    else delete node.holds;
  }

  #observe(entry: HistoryEntry, observed: Observation): void {
    const before = this.#live;
    const wasLive = new Set(before);
    const found = new Set<Draft>();
    // A backup brings back what was deleted. A file that has nothing to do with the old one brings nothing back.
    const isOther = observed.what === "replaced" && observed.as === undefined;
    this.#live = observed.snapshots.map((snapshot) => {
      const isFree = (node: Draft): boolean => !found.has(node);
      const known = isOther
        ? undefined
        : (this.#find(snapshot, (node) => isFree(node) && wasLive.has(node)) ?? this.#find(snapshot, isFree));
      const node = known ?? this.#bring(entry, snapshot, "found", undefined);
      delete node.gone;
      // A backup from before it was renamed has its name of then.
      if (known !== undefined && known.snapshot.name !== snapshot.name) {
        this.#setName(node, snapshot.name, tracesOf(entry));
      }
      found.add(node);
      return node;
    });
    this.#unlisted = observed.unlisted ?? 0;
    // Of a list that was cut, what is missing may be behind the cut.
    const vanished = this.#unlisted > 0 ? [] : before.filter((node) => !found.has(node));
    const how = observed.what === "replaced" ? "replaced" : "vanished";
    for (const node of vanished) node.gone = { ...tracesOf(entry), how };
    const isAsBefore = vanished.length === 0 && found.size === before.length;
    this.#current = this.#standingAfter(observed, isAsBefore);
  }

  #standingAfter({ what, as, snapshots }: Observation, isAsBefore: boolean): Ancestor {
    switch (what) {
      case "first seen":
        return snapshots.length === 0 ? null : undefined;
      case "copied":
        return undefined;
      case "moved":
      case "linked":
      case "listed":
        return isAsBefore ? this.#current : undefined;
      case "replaced":
      case "changed":
        return as === undefined ? undefined : this.#stood.get(as);
    }
  }

  #bring(
    entry: HistoryEntry,
    snapshot: SnapshotFacts,
    origin: SnapshotNode["origin"],
    parent: Ancestor,
  ): Draft {
    const { transaction } = entry;
    const count = (this.#counts.get(transaction) ?? 0) + 1;
    this.#counts.set(transaction, count);
    const came = origin === "created" ? eventOf(entry) : tracesOf(entry);
    const node: Draft = {
      key: `${transaction}.${count}`,
      snapshot,
      origin,
      came,
      parent,
      reverts: [],
      renames: [],
    };
    this.#nodes.push(node);
    this.#file(node);
    return node;
  }

  /** It is found by every name that it ever had. */
  #file(node: Draft): void {
    const name = nameOf(node.snapshot);
    const others = this.#namesakes.get(name) ?? [];
    if (!others.includes(node)) this.#namesakes.set(name, [...others, node]);
  }

  #rename(entry: HistoryEntry, snapshot: SnapshotFacts, to: string): void {
    const node = this.#findLive(snapshot);
    if (node !== undefined) this.#setName(node, to, eventOf(entry));
  }

  #setName(node: Draft, to: string, event: SnapshotEvent): void {
    node.renames.push({ ...event, from: node.snapshot.name, to });
    node.snapshot = { ...node.snapshot, name: to };
    this.#file(node);
  }

  #remove(entry: HistoryEntry, snapshot: SnapshotFacts, how: NonNullable<SnapshotNode["gone"]>["how"]): void {
    const node = this.#findLive(snapshot);
    if (node === undefined) return;
    node.gone = { ...eventOf(entry), how };
    this.#live = this.#live.filter((other) => other !== node);
  }

  /** The newest that is the same as far as both are known. */
  #find(wanted: SnapshotFacts, isEligible: (node: Draft) => boolean): Draft | undefined {
    const namesakes = this.#namesakes.get(nameOf(wanted)) ?? [];
    const isIt = (node: Draft): boolean => isEligible(node) && hasSameDate(node.snapshot, wanted);
    // One that has the name before one that had it.
    return (
      namesakes.findLast((node) => node.snapshot.name === wanted.name && isIt(node)) ??
      namesakes.findLast((node) => node.snapshot.name !== wanted.name && isIt(node))
    );
  }

  #findLive(wanted: SnapshotFacts): Draft | undefined {
    return this.#find(wanted, (node) => this.#live.includes(node));
  }
}

const nameOf = ({ id, name }: SnapshotFacts): string => `${id}\0${name}`;

/** Records of an earlier version do not have the date. */
function hasSameDate(one: SnapshotFacts, other: SnapshotFacts): boolean {
  const agrees = (field: "dateSec" | "dateNsec"): boolean =>
    one[field] === undefined || other[field] === undefined || one[field] === other[field];
  return agrees("dateSec") && agrees("dateNsec");
}

const eventOf = ({ transaction, began, ended = began, actor, reason }: HistoryEntry): SnapshotEvent => ({
  transaction,
  time: ended,
  actor,
  ...(reason === undefined ? {} : { reason }),
});

/** Whoever opened the image and saw it is not who did it. */
const tracesOf = ({ transaction, began }: HistoryEntry): SnapshotEvent => ({ transaction, time: began });
