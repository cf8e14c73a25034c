/**
 * The image as it is to be, in symbols: operations are applied to it one after
 * the other, and only the difference between the first and the last state is
 * planned. An L1 table is never copied here: a root says which stored table its
 * contents come from.
 */
import type { GuestOffset, SnapshotEntry } from "../format/index.ts";
import type { Image, L1Location, Snapshot } from "../image/index.ts";

export interface Root {
  /** The stored table that holds the contents. */
  readonly contents: L1Location;
  /** True while the root uses that table itself; else a copy has to be written. */
  readonly stored: boolean;
  /** Entries of the table; more than the contents have means empty ones behind them. */
  readonly entries: number;
}

export interface DraftSnapshot extends Snapshot {
  readonly root: Root;
}

export interface Draft {
  readonly virtualSize: GuestOffset;
  readonly active: Root;
  readonly snapshots: readonly DraftSnapshot[];
  /** Persistent bitmaps that the image has. */
  readonly bitmaps: number;
}

/** The image as it is, and as it is to be. */
export interface Drafts {
  readonly before: Draft;
  readonly after: Draft;
}

/** Where a root that uses its own table is stored. */
export function storedRoot(contents: L1Location): Root {
  return { contents, stored: true, entries: contents.entries };
}

/** A root of its own with the contents of `root`, with room for at least `entries`. */
export function copiedRoot(root: Root, entries: number): Root {
  return { contents: root.contents, stored: false, entries: Math.max(root.entries, entries) };
}

/** A class, because getters of a literal are made anew for each: of 65,536 snapshots those are 60 MiB. */
class RootedSnapshot implements DraftSnapshot {
  readonly #snapshot: Snapshot;
  readonly root: Root;

  constructor(snapshot: Snapshot, root: Root) {
    this.#snapshot = snapshot;
    this.root = root;
  }

  get entry(): SnapshotEntry {
    return this.#snapshot.entry;
  }

  get id(): string {
    return this.#snapshot.id;
  }

  get name(): string {
    return this.#snapshot.name;
  }
}

export const withRoot = (snapshot: Snapshot, root: Root): DraftSnapshot => new RootedSnapshot(snapshot, root);

export function draftOf(image: Image, bitmaps: number, locate: (snapshot: Snapshot) => L1Location): Draft {
  const { header } = image;
  return {
    virtualSize: header.virtualSize,
    active: storedRoot({ offset: header.l1TableOffset, entries: header.l1Size }),
    snapshots: image.snapshotTable.snapshots.map((snapshot) =>
      withRoot(snapshot, storedRoot(locate(snapshot))),
    ),
    bitmaps,
  };
}

/** A snapshot has the very table of the disk: each L2 table has two paths at least, so that no flag is set. */
export const isSharedByTable = ({ active: { contents }, snapshots }: Draft): boolean =>
  snapshots.some(
    ({ root }) => root.contents.offset === contents.offset && root.contents.entries >= contents.entries,
  );
