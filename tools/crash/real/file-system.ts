/**
 * What a power cut leaves of a file system, by the rules that POSIX gives a
 * program and no kinder ones:
 *
 * - A write is pending until the next sync of its file returns. A cut keeps,
 *   loses or tears it at any 512-byte sector, in any combination with others; a
 *   sector is atomic. Lost data inside the file reads as what was there before.
 * - The size of a file is pending too. Sizes survive as a prefix of the changes:
 *   they are fields of one inode. What was written beyond the size is not there.
 * - A new name, a rename, an unlink is pending until its directory is synced.
 *   Of one directory a prefix survives: journaling file systems log the changes
 *   of a directory in their order (ext4, XFS, btrfs). Syncing a new file does
 *   NOT make its name durable, though ext4 would: POSIX does not promise it.
 */
import { basename, dirname, join } from "node:path";
import { type EntryChange, type Event, type FileChange, resized, sizeAfter } from "./change.ts";
import { type Tree, type TreeOf, digestOf } from "./tree.ts";

const SECTOR = 512;

/** A file or directory, by whatever name it has. `durable` is replaced, never changed. */
interface File {
  readonly kind: "file";
  durable: Buffer;
  /** What a reader sees now. */
  size: number;
}

interface Directory {
  readonly kind: "directory";
  /** By name. */
  durable: ReadonlyMap<string, File | Directory>;
}

type Node = File | Directory;

/** A change that a power cut may undo. */
export type Pending = { readonly event: number } & (
  | { readonly kind: "data"; readonly file: File; readonly offset: number; readonly data: Buffer }
  | { readonly kind: "size"; readonly file: File; readonly size: number }
  | {
      readonly kind: "entry";
      readonly directory: Directory;
      readonly change: EntryChange;
      readonly node: Node;
    }
);

/** Whether a pending change is kept; of data, which of its sectors. */
export type Fate = boolean | readonly boolean[];

/** Into how many pieces a change can be torn. */
export function piecesOf(pending: Pending): number {
  if (pending.kind !== "data") return 1;
  const end = pending.offset + pending.data.length;
  return Math.ceil(end / SECTOR) - Math.floor(pending.offset / SECTOR);
}

/** The moment before a power cut. */
export interface Moment {
  readonly pending: readonly Pending[];
  /** The tree with `fates[i]` for `pending[i]`. */
  readonly cut: (fates: readonly Fate[]) => Tree;
  /** The same tree with digests of the contents. */
  readonly digests: (fates: readonly Fate[]) => TreeOf<string>;
}

export class FileSystem {
  readonly #root: string;
  readonly #top: Directory = { kind: "directory", durable: new Map() };
  /** By path, as the running program sees it. */
  readonly #names = new Map<string, Node>();
  readonly #digests = new ContentDigests();
  #pending: Pending[] = [];
  #events = 0;

  /** Everything in `tree` is durable. */
  constructor(root: string, tree: Tree) {
    this.#root = root;
    this.#names.set(root, this.#top);
    for (const [path, content] of tree) {
      const node: Node =
        content === "directory"
          ? { kind: "directory", durable: new Map() }
          : { kind: "file", durable: content, size: content.length };
      const parent = this.#directory(dirname(path));
      parent.durable = new Map([...parent.durable, [basename(path), node]]);
      this.#names.set(path, node);
    }
  }

  happen(event: Event): void {
    switch (event.kind) {
      case "sync":
        this.#sync(event.path, event.covers);
        break;
      case "write":
      case "truncate":
      case "zero":
        this.#change(event);
        break;
      case "create":
      case "mkdir":
      case "unlink":
      case "rename":
      case "link":
        this.#rename(event);
        break;
    }
    this.#events += 1;
  }

  moment(): Moment {
    const pending = [...this.#pending];
    const files = new Map<File, Buffer>();
    const directories = new Map<Directory, Directory["durable"]>();
    for (const node of [...this.#names.values(), ...pending.map(nodeOf)]) {
      if (node.kind === "file") files.set(node, node.durable);
      else directories.set(node, node.durable);
    }
    // What an unlink may bring back has no name any more.
    for (const entries of directories.values())
      for (const node of entries.values()) if (node.kind === "file") files.set(node, node.durable);
    const treeOf = <Content>(fates: readonly Fate[], contentOf: ContentOf<Content>): TreeOf<Content> =>
      cut(this.#root, this.#top, { pending, files, directories }, fates, contentOf);
    return {
      pending,
      cut: (fates) => treeOf(fates, contentAfter),
      digests: (fates) => treeOf(fates, this.#digests.of),
    };
  }

  #change(change: FileChange): void {
    const file = this.#names.get(change.path);
    if (file?.kind !== "file") throw new Error(`a write to ${change.path}, which is no file`);
    const event = this.#events;
    const size = sizeAfter(file.size, change);
    // The size first: it may survive without the data.
    if (size !== file.size) this.#pending.push({ kind: "size", event, file, size });
    file.size = size;
    if (change.kind === "truncate") return;
    const { offset } = change;
    const data =
      change.kind === "write"
        ? change.data
        : Buffer.alloc(Math.max(0, Math.min(change.length, size - offset)));
    if (data.length > 0) this.#pending.push({ kind: "data", event, file, offset, data });
  }

  #rename(change: EntryChange): void {
    const { path } = change;
    const existing = this.#names.get(path);
    // Opening a file that is there creates none.
    if (change.kind === "create" && existing !== undefined) return;
    const node: Node | undefined =
      change.kind === "create"
        ? { kind: "file", durable: Buffer.alloc(0), size: 0 }
        : change.kind === "mkdir"
          ? { kind: "directory", durable: new Map() }
          : existing;
    if (node === undefined) throw new Error(`${change.kind} of ${path}, which is not there`);
    const directory = this.#directory(dirname(change.kind === "link" ? change.to : path));
    this.#pending.push({ kind: "entry", event: this.#events, directory, change, node });
    if (change.kind === "rename") this.#move(path, change.to);
    else if (change.kind === "link") this.#names.set(change.to, node);
    else if (change.kind === "unlink") this.#names.delete(path);
    else this.#names.set(path, node);
  }

  /** With everything below it. */
  #move(from: string, to: string): void {
    for (const [path, node] of new Map(this.#names)) {
      if (path !== from && !path.startsWith(`${from}/`)) continue;
      this.#names.delete(path);
      this.#names.set(to + path.slice(from.length), node);
    }
  }

  /** Makes durable what had happened before the sync began. */
  #sync(path: string, covers: number): void {
    const node = this.#names.get(path);
    // Another thread took its name away before the sync returned: what it covered counts as lost.
    if (node === undefined) return;
    const isCovered = (pending: Pending): boolean => ownerOf(pending) === node && pending.event < covers;
    const settled = this.#pending.filter(isCovered);
    this.#pending = this.#pending.filter((pending) => !isCovered(pending));
    const all = settled.map(() => true);
    if (node.kind === "file") node.durable = contentAfter(node, node.durable, settled, all);
    else node.durable = entriesAfter(node, node.durable, settled, all);
  }

  #directory(path: string): Directory {
    const node = this.#names.get(path);
    if (node?.kind !== "directory") throw new Error(`${path} is no directory`);
    return node;
  }
}

const ownerOf = (pending: Pending): Node => (pending.kind === "entry" ? pending.directory : pending.file);
const nodeOf = (pending: Pending): Node => (pending.kind === "entry" ? pending.node : pending.file);

const NO_CONTENT = Buffer.alloc(0);

interface Frozen {
  readonly pending: readonly Pending[];
  readonly files: ReadonlyMap<File, Buffer>;
  readonly directories: ReadonlyMap<Directory, Directory["durable"]>;
}

/** What becomes of the durable content of a file. */
type ContentOf<Content> = (
  file: File,
  durable: Buffer,
  pending: readonly Pending[],
  fates: readonly Fate[],
) => Content;

/**
 * Digests of contents, each found once: of most files the many states of a run
 * make a few contents only. The contents themselves would be too much to keep.
 */
class ContentDigests {
  readonly #ids = new WeakMap<Buffer, number>();
  readonly #known = new Map<string, string>();
  #last = 0;

  readonly of: ContentOf<string> = (file, durable, pending, fates) => {
    const own: string[] = [];
    for (const [index, item] of pending.entries()) {
      if (item.kind === "entry" || item.file !== file) continue;
      const fate = fates[index] ?? false;
      // One event pends at most once of each kind.
      own.push(`${item.kind}${item.event}:${typeof fate === "boolean" ? fate : fate.map(Number).join("")}`);
    }
    const key = `${this.#idOf(durable)} ${own.join(" ")}`;
    let digest = this.#known.get(key);
    if (digest === undefined) {
      digest = digestOf(contentAfter(file, durable, pending, fates));
      this.#known.set(key, digest);
    }
    return digest;
  };

  #idOf(durable: Buffer): number {
    let id = this.#ids.get(durable);
    if (id === undefined) this.#ids.set(durable, (id = this.#last += 1));
    return id;
  }
}

function cut<Content>(
  root: string,
  top: Directory,
  frozen: Frozen,
  fates: readonly Fate[],
  contentOf: ContentOf<Content>,
): TreeOf<Content> {
  const tree = new Map<string, Content | "directory">();
  const visit = (directory: Directory, path: string): void => {
    const durable = frozen.directories.get(directory) ?? directory.durable;
    for (const [entry, node] of entriesAfter(directory, durable, frozen.pending, fates)) {
      const name = join(path, entry);
      if (node.kind === "directory") {
        tree.set(name, "directory");
        visit(node, name);
      } else {
        const before = frozen.files.get(node) ?? NO_CONTENT;
        tree.set(name, contentOf(node, before, frozen.pending, fates));
      }
    }
  };
  visit(top, root);
  return tree;
}

function entriesAfter(
  directory: Directory,
  durable: Directory["durable"],
  pending: readonly Pending[],
  fates: readonly Fate[],
): Directory["durable"] {
  const entries = new Map(durable);
  for (const [index, item] of pending.entries()) {
    if (item.kind !== "entry" || item.directory !== directory) continue;
    if (fates[index] !== true) break;
    const { change, node } = item;
    if (change.kind === "unlink" || change.kind === "rename") entries.delete(basename(change.path));
    if (change.kind !== "unlink") entries.set(basename("to" in change ? change.to : change.path), node);
  }
  return entries;
}

/** The content that `durable` becomes, which stays as it is; itself when nothing changes it. */
function contentAfter(
  file: File,
  durable: Buffer,
  pending: readonly Pending[],
  fates: readonly Fate[],
): Buffer {
  let own: Buffer | undefined;
  // As long as it can ever be: a copy for each change would be most of what a search of large files does.
  const content = (): Buffer => (own ??= resized(durable, longest(file, durable, pending)));
  let size = durable.length;
  let sizesSurvive = true;
  for (const [index, item] of pending.entries()) {
    if (item.kind === "entry" || item.file !== file) continue;
    const fate = fates[index] ?? false;
    if (item.kind === "size") {
      sizesSurvive &&= fate === true;
      if (!sizesSurvive) continue;
      // What is cut off must not come back when the file grows again.
      if (item.size < size) content().fill(0, item.size);
      size = item.size;
    } else {
      for (const [offset, data] of surviving(item.offset, item.data, fate)) data.copy(content(), offset);
    }
  }
  return own === undefined && size === durable.length ? durable : content().subarray(0, size);
}

function longest(file: File, durable: Buffer, pending: readonly Pending[]): number {
  const ends = pending.map((item) => {
    if (item.kind === "entry" || item.file !== file) return 0;
    return item.kind === "size" ? item.size : item.offset + item.data.length;
  });
  return Math.max(durable.length, ...ends);
}

function* surviving(offset: number, data: Buffer, fate: Fate): Generator<readonly [number, Buffer]> {
  if (typeof fate === "boolean") {
    if (fate) yield [offset, data];
    return;
  }
  let at = 0;
  for (const kept of fate) {
    const end = Math.min(data.length, SECTOR - ((offset + at) % SECTOR) + at);
    if (kept) yield [offset + at, data.subarray(at, end)];
    at = end;
  }
}
