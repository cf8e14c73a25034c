import { QcowalError } from "../../src/errors/index.ts";
import type { Disk } from "../../src/disk/disk.ts";
import { SparseBytes } from "./sparse-bytes.ts";
import { type Change, type UnsyncedFile, applyChange } from "./unsynced.ts";

/** The process was killed here: not a QcowalError, so that nothing can mistake it for a failure to handle. */
export class Killed extends Error {
  override readonly name = "Killed";
}

export type DiskEvent =
  | {
      readonly type: "write";
      readonly offset: number;
      readonly length: number;
      readonly data: Uint8Array | null;
    }
  | { readonly type: "truncate"; readonly size: number }
  | { readonly type: "discard"; readonly offset: number; readonly length: number }
  | { readonly type: "sync" };

export interface DiskFault {
  /** Which event fails; the first is 1. */
  readonly event: number;
  readonly code: "EIO" | "ENOSPC";
  /** A failing write may have written a part. Default: nothing. */
  readonly bytesKept?: number;
}

export interface MemoryDiskOptions {
  readonly path?: string;
  /** The event at which the process dies, before it takes effect; the first is 1. Earlier ones stay. */
  readonly stopAt?: number;
  /** Bytes of a write at `stopAt` that still reach the file: a kill can cut a long write short. */
  readonly bytesKeptAtStop?: number;
  readonly failAt?: DiskFault;
  /** The read that fails with EIO; the first is 1. */
  readonly failReadAt?: number;
  /** False: a file system without holes, where a discard does nothing. */
  readonly punchesHoles?: boolean;
  /** Keep the bytes of every write in the log, to build the states that a power cut can leave. */
  readonly recordData?: boolean;
}

/**
 * A file in memory that can die or fail at a chosen event, and that knows what a
 * power cut may take: what changed since the last sync. Events are counted from
 * 1 in the order of the calls; reads are counted apart.
 */
export class MemoryDisk implements Disk {
  readonly path: string;
  readonly canGrow = true;
  /** What was asked for and took effect, in order. */
  readonly log: DiskEvent[] = [];
  readonly #options: MemoryDiskOptions;
  readonly #chunks: SparseBytes;
  /** The file as the last sync left it; undefined while nothing has changed since. */
  #durable: SparseBytes | undefined;
  #changes: Change[] = [];
  #events = 0;
  #reads = 0;
  #killed = false;
  #closed = false;
  /** Set by a failure after which nobody knows what is on the disk. */
  #broken = false;

  /** What `bytes` holds is durable. */
  constructor(bytes: Uint8Array | SparseBytes = new Uint8Array(0), options: MemoryDiskOptions = {}) {
    this.path = options.path ?? "/memory/image.qcow2";
    this.#options = options;
    if (bytes instanceof Uint8Array) {
      this.#chunks = new SparseBytes();
      this.#chunks.write(0, bytes);
    } else this.#chunks = bytes;
  }

  /** A disk as a killed process leaves it. */
  static between({ durable, changes }: UnsyncedFile, path: string): MemoryDisk {
    const bytes = durable.copy();
    for (const change of changes) applyChange(bytes, change);
    const disk = new MemoryDisk(bytes, { path });
    if (changes.length > 0) disk.#durable = durable;
    disk.#changes = [...changes];
    return disk;
  }

  /** Mutating calls so far, the failed one included. */
  get events(): number {
    return this.#events;
  }

  get closed(): boolean {
    return this.#closed;
  }

  size(): Promise<number> {
    return this.#run(() => this.#chunks.length);
  }

  read(offset: number, target: Uint8Array): Promise<number> {
    return this.#run(() => {
      if (++this.#reads === this.#options.failReadAt)
        throw new QcowalError("IO_FAILED", "simulated: read failed");
      return this.#chunks.read(offset, target);
    });
  }

  write(offset: number, data: Uint8Array): Promise<void> {
    // The caller may reuse its buffer as soon as the promise is there. `slice` of a Buffer copies nothing.
    const bytes = new Uint8Array(data);
    const kept = (count: number | undefined): void => {
      if (count !== undefined) this.#change({ type: "write", offset, data: bytes.subarray(0, count) });
    };
    const logged = this.#options.recordData === true ? bytes : null;
    return this.#mutate({ type: "write", offset, length: bytes.length, data: logged }, kept, () => {
      this.#change({ type: "write", offset, data: bytes });
    });
  }

  sync(): Promise<void> {
    return this.#mutate({ type: "sync" }, nothing, () => {
      this.#durable = undefined;
      this.#changes = [];
    });
  }

  truncate(size: number): Promise<void> {
    return this.#mutate({ type: "truncate", size }, nothing, () => this.#change({ type: "truncate", size }));
  }

  discard(offset: number, length: number): Promise<void> {
    return this.#mutate({ type: "discard", offset, length }, nothing, () => {
      if (this.#options.punchesHoles !== false) this.#change({ type: "zero", offset, length });
    });
  }

  close(): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }

  /** A copy of the whole file, whatever became of the process. */
  bytes(): Uint8Array {
    const result = new Uint8Array(this.#chunks.length);
    this.#chunks.read(0, result);
    return result;
  }

  /** The same for the same bytes, synced or not. */
  digest(): string {
    return this.#chunks.digest();
  }

  /**
   * What the next process finds after this one was killed: everything, and what
   * was not synced is still not. Faults do not carry over.
   */
  reopen(options: MemoryDiskOptions = {}): MemoryDisk {
    const next = new MemoryDisk(this.#chunks.copy(), { path: this.path, ...options });
    next.#durable = this.#durable;
    next.#changes = [...this.#changes];
    return next;
  }

  get hasUnsynced(): boolean {
    return this.#changes.length > 0;
  }

  /** What is certain, and what a power cut may take. Stays as it is when the disk changes. */
  unsynced(): UnsyncedFile {
    return { durable: this.#durable ?? this.#chunks.copy(), changes: [...this.#changes] };
  }

  #change(change: Change): void {
    this.#durable ??= this.#chunks.copy();
    this.#changes.push(change);
    applyChange(this.#chunks, change);
  }

  async #run<T>(act: () => T): Promise<T> {
    if (this.#killed) throw new Killed("the process is dead");
    if (this.#closed) throw new QcowalError("IO_FAILED", "simulated: the disk is closed");
    return Promise.resolve(act());
  }

  #mutate(event: DiskEvent, keepPart: (bytes: number | undefined) => void, take: () => void): Promise<void> {
    return this.#run(() => {
      if (this.#broken)
        throw new QcowalError("IO_FAILED_EARLIER", "simulated: an earlier write or sync failed");
      const number = ++this.#events;
      const { stopAt, failAt } = this.#options;
      if (number === stopAt) {
        this.#killed = true;
        keepPart(this.#options.bytesKeptAtStop);
        throw new Killed(`killed at event ${number} (${event.type})`);
      }
      if (failAt?.event === number) {
        // A discard is advisory: its failure is nobody's business.
        if (event.type === "discard") return;
        keepPart(failAt.bytesKept);
        throw this.#failure(event.type, failAt.code);
      }
      take();
      this.log.push(event);
    });
  }

  /** Space that runs out under a write can be given back; after anything else the state of the disk is unknown. */
  #failure(type: DiskEvent["type"], code: DiskFault["code"]): QcowalError {
    const noSpace = code === "ENOSPC";
    this.#broken = !noSpace || type === "sync";
    return new QcowalError(noSpace ? "NO_SPACE" : "IO_FAILED", `simulated: ${type} failed with ${code}`);
  }
}

function nothing(): void {
  // A sync changes no byte that a kill could lose.
}
