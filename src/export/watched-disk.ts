import { createHash } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import type { Disk } from "../disk/index.ts";
import { fencedError } from "../engine/index.ts";
import { QcowalError } from "../errors/index.ts";
import { HEADER_PROBE_BYTES, type Header, decodeHeader } from "../format/index.ts";
import { type ImageHead, type Snapshot, mapSnapshots, readHead, snapshotLabel } from "../image/index.ts";

/** How long an operation may hold the image before a reader gives up: many times what one takes. */
const MAX_FENCED_MS = 5000;
const FENCED_POLL_MS = 20;
/**
 * A table of up to this many bytes is looked at after each read. A longer one only when
 * the header says that it was replaced; to come back to its place takes two operations.
 */
const MAX_TABLE_BYTES = 64 * 1024;
const L1_ENTRY_BYTES = 8;
const L1_PIECE_BYTES = 1024 * 1024;
const COPIED_IN_FIRST_BYTE = 0x80;
/** How often reading what an opening needs is begun anew because the image was changed meanwhile. */
const ATTEMPTS = 5;

/** What is read of an image. */
export interface WatchedStates {
  readonly active: boolean;
  readonly snapshots: readonly Snapshot[];
}

/**
 * An image that is read without locks, so that operations may go on meanwhile.
 * What a read brings counts only when the states that are read are still there
 * behind it: an operation switches the header to a new L1 table or snapshot table
 * before anybody can use what the old ones led to for something else.
 *
 * Reads throw SNAPSHOT_NOT_FOUND when the snapshot was deleted, IMAGE_CHANGED when
 * the active layer is another one since it was opened, and NEEDS_RECOVERY when an
 * operation does not end. Two reverts may bring the L1 table back to its place: what
 * it says tells, unless a VM is at work, whose writes change it too.
 */
export class WatchedDisk implements Disk {
  readonly path: string;
  readonly canGrow: boolean;
  readonly #disk: Disk;
  readonly #states: WatchedStates;
  readonly #opened: Header;
  #table: { readonly offset: number; readonly count: number; readonly bytes: Buffer } | undefined;
  #l1: { readonly modified: bigint | undefined; readonly digest: string } | undefined;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #failed: QcowalError | undefined;

  private constructor(disk: Disk, { header }: ImageHead, states: WatchedStates) {
    this.#disk = disk;
    this.path = disk.path;
    this.canGrow = disk.canGrow;
    this.#opened = header;
    this.#states = states;
  }

  /** `head` is how the image was when the states were looked up. */
  static async open(disk: Disk, head: ImageHead, states: WatchedStates): Promise<WatchedDisk> {
    const watched = new WatchedDisk(disk, head, states);
    await watched.#stillThere();
    return watched;
  }

  async read(offset: number, target: Uint8Array): Promise<number> {
    const count = await this.#disk.read(offset, target);
    await this.#stillThere();
    return count;
  }

  /** One look serves all whose reads have ended before it began; who comes during it waits for the next. */
  #stillThere(): Promise<void> {
    if (this.#running === undefined) {
      this.#running = this.#look().finally(() => {
        this.#running = undefined;
      });
      return this.#running;
    }
    this.#next ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined;
        return this.#stillThere();
      });
    return this.#next;
  }

  async #look(): Promise<void> {
    if (this.#failed !== undefined) throw this.#failed;
    for (let attempt = 1; ; attempt += 1) {
      const modified = await this.#disk.modified?.();
      const header = await this.#unfenced();
      if (this.#states.active) await this.#lookAtActive(header, modified);
      try {
        return await this.#lookForSnapshots(header);
      } catch (error) {
        // A VM frees a table that it has replaced at once: the old one may have been looked for.
        const now = attempt === ATTEMPTS ? header : await this.#unfenced();
        if (now.snapshotsOffset === header.snapshotsOffset && now.snapshotCount === header.snapshotCount) {
          throw error;
        }
      }
    }
  }

  async #lookAtActive(header: Header, modified: bigint | undefined): Promise<void> {
    const { l1TableOffset, l1Size, virtualSize } = this.#opened;
    const isMoved =
      header.l1TableOffset !== l1TableOffset ||
      header.l1Size !== l1Size ||
      header.virtualSize !== virtualSize;
    const known = this.#l1;
    if (!isMoved && known?.modified !== undefined && known.modified === modified) return;
    const digest = isMoved ? "" : await this.#l1Digest(header);
    const isSame = !isMoved && (known === undefined || known.digest === digest);
    if (!isSame && (isMoved || (await this.#disk.isHeldByQemuWriter?.()) !== true)) {
      this.#failed = new QcowalError(
        "IMAGE_CHANGED",
        `${this.path} was reverted, resized or written to while it was read without locks. What was read before is how it was; open it again for how it is now.`,
        { details: { path: this.path } },
      );
      throw this.#failed;
    }
    this.#l1 = { modified, digest };
  }

  /** Of which clusters the active layer is made; the COPIED flags say nothing of that. */
  async #l1Digest({ l1TableOffset, l1Size }: Header): Promise<string> {
    const hash = createHash("sha256");
    for (let at = 0; at < l1Size * L1_ENTRY_BYTES; at += L1_PIECE_BYTES) {
      const piece = Buffer.alloc(Math.min(L1_PIECE_BYTES, l1Size * L1_ENTRY_BYTES - at));
      await this.#disk.read(l1TableOffset + at, piece);
      for (let entry = 0; entry < piece.length; entry += L1_ENTRY_BYTES) {
        piece[entry] = (piece[entry] ?? 0) & ~COPIED_IN_FIRST_BYTE;
      }
      hash.update(piece);
    }
    return hash.digest("base64");
  }

  /** @throws QcowalError NEEDS_RECOVERY when an operation does not end */
  async #unfenced(): Promise<Header> {
    const deadline = performance.now() + MAX_FENCED_MS;
    for (;;) {
      const probe = new Uint8Array(HEADER_PROBE_BYTES);
      await this.#disk.read(0, probe);
      const header = decodeHeader(probe);
      if (!header.fenced) return header;
      if (performance.now() > deadline) throw await fencedError(this.path, await readHead(this.#disk));
      await setTimeout(FENCED_POLL_MS);
    }
  }

  async #lookForSnapshots(header: Header): Promise<void> {
    if (this.#states.snapshots.length === 0) return;
    const { snapshotsOffset: offset, snapshotCount: count } = header;
    const known = this.#table;
    // Before the entries: what is compared later must not be younger than what was looked through.
    const bytes = Buffer.alloc(MAX_TABLE_BYTES);
    await this.#disk.read(offset, bytes);
    if (known?.offset === offset && known.count === count && known.bytes.equals(bytes)) return;
    const there = new Set(await mapSnapshots(this.#disk, header, identityOf));
    const lost = this.#states.snapshots.find((snapshot) => !there.has(identityOf(snapshot)));
    if (lost === undefined) {
      this.#table = { offset, count, bytes };
      return;
    }
    throw new QcowalError(
      "SNAPSHOT_NOT_FOUND",
      `${this.path}: ${snapshotLabel(lost)} was deleted while it was read without locks. What was read before is right; the rest is gone.`,
      { details: { path: this.path, id: lost.id } },
    );
  }

  size(): Promise<number> {
    return this.#disk.size();
  }

  write(offset: number, data: Uint8Array): Promise<void> {
    return this.#disk.write(offset, data);
  }

  sync(): Promise<void> {
    return this.#disk.sync();
  }

  truncate(size: number): Promise<void> {
    return this.#disk.truncate(size);
  }

  discard(offset: number, length: number): Promise<void> {
    return this.#disk.discard(offset, length);
  }

  close(): Promise<void> {
    return this.#disk.close();
  }
}

/** What stays of a snapshot when it is renamed, and no other one has. */
const identityOf = ({ id, entry }: Snapshot): string =>
  [id, entry.l1TableOffset, entry.l1Size, entry.dateSec, entry.dateNsec, entry.vmClockNsec].join(" ");

/**
 * What `read` makes of the head of an image and of what it reads besides. Where
 * the image was opened without locks and is changed meanwhile, it reads anew.
 */
export async function readSteadily<Result>(
  disk: Disk,
  isLocked: boolean,
  read: (head: ImageHead) => Promise<Result>,
): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    const head = await readHead(disk);
    try {
      return await read(head);
    } catch (error) {
      if (isLocked || attempt === ATTEMPTS || !(await hasChanged(disk, head))) throw error;
    }
  }
}

async function hasChanged(disk: Disk, { cluster }: ImageHead): Promise<boolean> {
  const probe = Buffer.alloc(HEADER_PROBE_BYTES);
  await disk.read(0, probe);
  return !probe.equals(cluster.subarray(0, HEADER_PROBE_BYTES));
}
