import { Readable } from "node:stream";
import type { Disk } from "../disk/index.ts";
import { QcowalError, throwIfAborted } from "../errors/index.ts";
import { roundUp } from "../format/index.ts";
import { type SnapshotFacts, snapshotFacts } from "../image/index.ts";
import type { SnapshotSelection } from "../plan/index.ts";
import type { Extent, GuestDisk } from "./guest-disk.ts";
import { LayeredDisk } from "./layered-disk.ts";
import type { Layer } from "./layer.ts";
import { type OpenedLayers, closeLayers, openLayers } from "./open-layers.ts";
import { Qcow2Layer } from "./qcow2-layer.ts";
import { readAhead } from "./read-ahead.ts";

export interface ViewOptions {
  /** The snapshot of this name, or with this id. Default: the active layer. */
  readonly snapshot?: string | { readonly id: string };
  /**
   * Take no locks, as `qemu-img -U`: beside a running VM the active layer may be of no single moment.
   * Reads end with SNAPSHOT_NOT_FOUND when the snapshot is deleted, with IMAGE_CHANGED when the disk is reverted.
   */
  readonly forceShare?: boolean;
  readonly signal?: AbortSignal;
}

export interface ChunkOptions {
  /** Bytes of a chunk; default 1 MiB. */
  readonly chunkBytes?: number;
  readonly signal?: AbortSignal;
  /** Hears of bytes done and of all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Bytes of the disk; nobody else changes them. */
export interface Chunk {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

const CHUNK_BYTES = 1024 * 1024;
const MAX_CHUNK_BYTES = 64 * CHUNK_BYTES;
/** Chunks that are read while the caller works on one. */
const CHUNKS_AHEAD = 4;

/**
 * Opens the active layer of an image, or one of its snapshots, for reading, with
 * the files that back it. Needs no journal. Other readers are let in, writers are
 * kept out until it is closed.
 *
 * @throws TypeError for malformed options
 * @throws QcowalError IMAGE_NOT_FOUND, IMAGE_IN_USE, NEEDS_RECOVERY, IMAGE_NOT_QCOW2, IMAGE_INVALID,
 * IMAGE_UNSUPPORTED (encrypted, or a file behind it is not qcow2 or raw), SNAPSHOT_NOT_FOUND, SNAPSHOT_AMBIGUOUS,
 * LIMIT_EXCEEDED, ABORTED, IO_FAILED
 */
export async function openView(imagePath: string, options: ViewOptions = {}): Promise<View> {
  if (typeof imagePath !== "string" || imagePath === "") throw new TypeError("openView needs an image");
  const forceShare = options.forceShare === true;
  const opened = await openLayers(
    imagePath,
    selectionOf(options.snapshot),
    forceShare ? "read-unlocked" : "read",
    () => assertNotAborted(options.signal),
  );
  return new View(opened, forceShare && opened.snapshot === undefined);
}

function selectionOf(snapshot: ViewOptions["snapshot"]): SnapshotSelection | undefined {
  if (snapshot === undefined) return undefined;
  if (typeof snapshot === "string") return { name: snapshot };
  if (typeof snapshot.id !== "string") throw new TypeError("a snapshot is selected by its name or by { id }");
  return { id: snapshot.id };
}

/** @throws QcowalError ABORTED */
const assertNotAborted = (signal: AbortSignal | undefined): void =>
  throwIfAborted(signal, "Reading was called off. Nothing was changed.");

/** An image, or a snapshot of it, as its guest sees or saw it. */
export class View implements GuestDisk, AsyncDisposable {
  /** Absolute path of the image. */
  readonly path: string;
  readonly size: number;
  /** Undefined for the active layer. */
  readonly snapshot: SnapshotFacts | undefined;
  /** The files that it is read from: the image, then what backs it. */
  readonly files: readonly string[];
  /** Bytes of saved VM state; 0 for none. */
  readonly vmStateSize: number;
  readonly #layers: readonly Layer[];
  readonly #disk: LayeredDisk;
  readonly #state: LayeredDisk;
  readonly #stateOffset: number;
  readonly #file: Disk;
  /** Empties what is held of tables that others may change; undefined where nobody can. */
  readonly #forget: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  /** @internal Use `openView`. `isShared`: others may write to the active layer meanwhile. */
  constructor({ layers, head, snapshot, disk, root, cache }: OpenedLayers, isShared: boolean) {
    const [first, ...others] = layers as [Layer, ...Layer[]];
    const { clusterSize, l2Entries } = head.header.geometry;
    this.path = first.path;
    this.#layers = layers;
    this.#file = disk;
    if (isShared) this.#forget = () => cache.clear();
    this.#disk = new LayeredDisk([first, ...others]);
    this.size = this.#disk.size;
    this.files = layers.map(({ path }) => path);
    this.snapshot = snapshot === undefined ? undefined : snapshotFacts(snapshot.entry);
    // It lies where no guest reaches: behind the last L2 table that the disk needs.
    this.#stateOffset = roundUp(this.size, clusterSize * l2Entries);
    const stateSize = Number(snapshot?.entry.vmStateSize ?? 0);
    const room = Math.max(0, root.l1.entries * clusterSize * l2Entries - this.#stateOffset);
    if (stateSize > room) {
      this.vmStateSize = 0;
      this.#tooLarge = stateSize;
    } else this.vmStateSize = stateSize;
    const size = this.#stateOffset + this.vmStateSize;
    this.#state = new LayeredDisk([new Qcow2Layer(disk, { ...root, size }, cache.forFile())]);
  }

  #tooLarge = 0;

  async read(offset: number, target: Uint8Array): Promise<void> {
    this.#forget?.();
    await this.#disk.read(offset, target);
  }

  /** With a `signal` it ends with ABORTED. */
  async *extents(
    offset = 0,
    length = this.size - offset,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<Extent> {
    this.#forget?.();
    yield* this.#disk.extents(offset, length, () => assertNotAborted(signal));
  }

  /** The content in order, with the next chunks read meanwhile; the last one may be shorter. */
  async *chunks(offset = 0, length = this.size - offset, options: ChunkOptions = {}): AsyncGenerator<Chunk> {
    yield* chunksOf(this, offset, length, options);
  }

  /** The same as a stream of bytes. */
  stream(offset = 0, length = this.size - offset, options: ChunkOptions = {}): Readable {
    return Readable.from(bytesOf(this.chunks(offset, length, options)), { objectMode: false });
  }

  /**
   * The saved state of the VM, as QEMU wrote it.
   * @throws QcowalError IMAGE_INVALID when the snapshot's L1 table has no room for what it is said to be
   */
  async *vmState(options: ChunkOptions = {}): AsyncGenerator<Uint8Array> {
    if (this.#tooLarge > 0) {
      throw new QcowalError(
        "IMAGE_INVALID",
        `${this.path}: the VM state of ${this.#tooLarge} bytes does not fit the L1 table of the snapshot. Nothing was changed.`,
      );
    }
    yield* bytesOf(chunksOf(this.#state, this.#stateOffset, this.vmStateSize, options));
  }

  /**
   * What is read without locks is still what was opened; with locks nobody can change it.
   * @throws QcowalError IMAGE_CHANGED, SNAPSHOT_NOT_FOUND, NEEDS_RECOVERY, IO_FAILED: as a read does
   */
  async assertUnchanged(): Promise<void> {
    await this.#file.read(0, new Uint8Array(1));
  }

  async close(): Promise<void> {
    this.#closed ??= closeLayers(this.#layers);
    await this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function* bytesOf(chunks: AsyncIterable<Chunk>): AsyncGenerator<Uint8Array> {
  for await (const { bytes } of chunks) yield bytes;
}

async function* chunksOf(
  disk: GuestDisk,
  offset: number,
  length: number,
  { chunkBytes = CHUNK_BYTES, signal, onProgress }: ChunkOptions,
): AsyncGenerator<Chunk> {
  if (!Number.isSafeInteger(chunkBytes) || chunkBytes < 1 || chunkBytes > MAX_CHUNK_BYTES) {
    throw new TypeError(`chunkBytes is a number of bytes up to ${MAX_CHUNK_BYTES}`);
  }
  const offsets = function* (): Generator<number> {
    for (let at = offset; at < offset + length; at += chunkBytes) yield at;
  };
  const read = async (at: number): Promise<Chunk> => {
    const bytes = new Uint8Array(Math.min(chunkBytes, offset + length - at));
    await disk.read(at, bytes);
    return { offset: at, bytes };
  };
  for await (const chunk of readAhead(offsets(), CHUNKS_AHEAD, read)) {
    assertNotAborted(signal);
    yield chunk;
    onProgress?.(chunk.offset - offset + chunk.bytes.length, length);
  }
}
