import { fstatSync, read, write } from "node:fs";
import { type FileHandle, open, realpath } from "node:fs/promises";
import { trim } from "fs-native-extensions";
import { QcowalError, isQcowalError, reasonOf } from "../errors/index.ts";
import { blockDeviceSize } from "./block-device-size.ts";
import type { Disk, DiskMode } from "./disk.ts";
import { isHeldByQemuWriter, lockForReading, lockForWriting } from "./qemu-locks.ts";

/**
 * Opens an image file and takes the locks of `mode`. The path is resolved
 * first: the record must name the file, not a link that may point elsewhere later.
 */
export async function openFileDisk(path: string, mode: DiskMode): Promise<Disk> {
  const { handle, real, canWrite } = await openFile(path, mode);
  let deviceSize: number | undefined;
  try {
    const stat = fstatSync(handle.fd);
    if (!stat.isFile() && !stat.isBlockDevice()) {
      throw new QcowalError(
        "IMAGE_UNSUPPORTED",
        `${real} is neither a regular file nor a block device. Nothing was changed.`,
      );
    }
    if (stat.isBlockDevice()) deviceSize = await blockDeviceSize(stat.rdev);
    const locked =
      mode === "read-unlocked" ||
      (mode === "write" ? lockForWriting(handle.fd) : await lockForReading(handle.fd, stat.ino, canWrite));
    if (!locked) {
      throw new QcowalError(
        "IMAGE_IN_USE",
        `${real} is in use by another process (a running VM, qemu-img or qcowal). Nothing was changed; try again when it has finished.`,
        { details: { path: real } },
      );
    }
  } catch (error) {
    await handle.close().catch(() => undefined);
    if (isQcowalError(error)) throw error;
    // A file system without OFD locks, or one that fails: not a bug of ours.
    throw new QcowalError(
      "IO_FAILED",
      `${real} cannot be measured or locked: ${reasonOf(error)} Nothing was changed.`,
      {
        cause: error,
        details: { path: real },
      },
    );
  }
  return new FileDisk(handle, real, deviceSize, canWrite);
}

interface OpenedFile {
  readonly handle: FileHandle;
  readonly real: string;
  readonly canWrite: boolean;
}

async function openFile(path: string, mode: DiskMode): Promise<OpenedFile> {
  try {
    const real = await realpath(path);
    // A reader opens for writing too where it may: only then can it ask the kernel for a writer's locks.
    if (mode !== "read") {
      return { handle: await open(real, mode === "write" ? "r+" : "r"), real, canWrite: mode === "write" };
    }
    try {
      return { handle: await open(real, "r+"), real, canWrite: true };
    } catch (error) {
      if (!NOT_WRITABLE_CODES.has(errnoCode(error) ?? "")) throw error;
      return { handle: await open(real, "r"), real, canWrite: false };
    }
  } catch (cause) {
    const missing = errnoCode(cause) === "ENOENT";
    throw new QcowalError(
      missing ? "IMAGE_NOT_FOUND" : "IO_FAILED",
      missing
        ? `${path}: no such image.`
        : `${path} cannot be opened: ${reasonOf(cause)} Nothing was changed.`,
      { cause, details: { path } },
    );
  }
}

const NOT_WRITABLE_CODES = new Set(["EACCES", "EPERM", "EROFS", "EISDIR", "ETXTBSY"]);

function errnoCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

const hex = (offset: number): string => `0x${offset.toString(16)}`;

/** `read` or `write` of Node. */
type Transfer = (
  fd: number,
  bytes: Uint8Array,
  from: number,
  length: number,
  position: number,
  done: (error: Error | null, count: number) => void,
) => void;

const NO_SPACE_CODES = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

class FileDisk implements Disk {
  readonly path: string;
  readonly #deviceSize: number | undefined;
  readonly #handle: FileHandle;
  #failed: QcowalError | undefined;
  #closed = false;
  /** The descriptor stays open until they are done: its number may be another file's then. */
  #underWay = 0;
  #onIdle: (() => void) | undefined;

  readonly #canWrite: boolean;

  /** `deviceSize` is the length of a block device; `canWrite`: the descriptor is open for writing. */
  constructor(handle: FileHandle, path: string, deviceSize: number | undefined, canWrite: boolean) {
    this.#canWrite = canWrite;
    this.#handle = handle;
    this.path = path;
    this.#deviceSize = deviceSize;
  }

  get canGrow(): boolean {
    return this.#deviceSize === undefined;
  }

  async size(): Promise<number> {
    // For a block device stat knows no length.
    return this.#deviceSize ?? this.#stat((fd) => fstatSync(fd)).size;
  }

  async modified(): Promise<bigint | undefined> {
    if (this.#deviceSize !== undefined) return undefined;
    return this.#stat((fd) => fstatSync(fd, { bigint: true })).mtimeNs;
  }

  lockForWriting(): boolean {
    try {
      return this.#canWrite && lockForWriting(this.#handle.fd);
    } catch {
      return false;
    }
  }

  async isHeldByQemuWriter(): Promise<boolean> {
    return isHeldByQemuWriter(this.#stat((fd) => fstatSync(fd)).ino);
  }

  async read(offset: number, target: Uint8Array): Promise<number> {
    let done = 0;
    try {
      while (done < target.length) {
        const bytesRead = await this.#transfer(read, offset, target, done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
    } catch (cause) {
      throw this.#failure("IO_FAILED", `read at ${hex(offset + done)}`, cause);
    }
    if (done < target.length) target.fill(0, done);
    return done;
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    await this.#changing(`write at ${hex(offset)}`, async () => {
      let done = 0;
      while (done < data.length) {
        done += await this.#transfer(write, offset, data, done);
      }
    });
  }

  async sync(): Promise<void> {
    // fdatasync also makes the length durable when it changed: data behind the old end could not be read otherwise.
    await this.#changing("sync", () => this.#handle.datasync());
  }

  async truncate(size: number): Promise<void> {
    await this.#changing("truncate", () => this.#handle.truncate(size));
  }

  async discard(offset: number, length: number): Promise<void> {
    this.#refuseAfterFailure();
    try {
      await trim(this.#handle.fd, offset, length);
    } catch {
      // Advisory: without hole punching the freed clusters keep their old bytes, as with qemu on such a file system.
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    // All that matters was synced, and its failure heard of: a late one of close must not hide another error.
    if (this.#underWay > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    await this.#handle.close().catch(() => undefined);
  }

  /**
   * Reads or writes what it can behind the first `done` bytes. An image has thousands
   * of small tables: the promise that Node makes for each costs as much again.
   */
  #transfer(how: Transfer, offset: number, bytes: Uint8Array, done: number): Promise<number> {
    return new Promise((resolve, reject) => {
      how(this.#handle.fd, bytes, done, bytes.length - done, offset + done, (error, count) => {
        this.#underWay -= 1;
        if (this.#underWay === 0) this.#onIdle?.();
        if (error === null) resolve(count);
        else reject(error);
      });
      // What is refused at once never was under way.
      this.#underWay += 1;
    });
  }

  /** Of an open file the kernel answers from memory, as it does when it is locked: a turn of a thread takes twenty times as long. */
  #stat<Found>(look: (fd: number) => Found): Found {
    try {
      return look(this.#handle.fd);
    } catch (cause) {
      throw this.#failure("IO_FAILED", "stat", cause);
    }
  }

  /**
   * The first failure is final: after a failed fsync the kernel may drop the dirty
   * pages, and a second one would lie. Only a write that found no space lost
   * nothing, and what was reserved so far must be given back.
   */
  async #changing(what: string, action: () => Promise<unknown>): Promise<void> {
    this.#refuseAfterFailure();
    try {
      await action();
    } catch (cause) {
      const noSpace = NO_SPACE_CODES.has(errnoCode(cause) ?? "");
      const failure = this.#failure(noSpace ? "NO_SPACE" : "IO_FAILED", what, cause);
      if (!noSpace || what === "sync") this.#failed = failure;
      throw failure;
    }
  }

  #refuseAfterFailure(): void {
    if (this.#failed !== undefined) {
      throw new QcowalError(
        "IO_FAILED_EARLIER",
        `${this.path}: an earlier write or sync failed; only closing is possible.`,
        {
          cause: this.#failed,
        },
      );
    }
  }

  #failure(code: "IO_FAILED" | "NO_SPACE", what: string, cause: unknown): QcowalError {
    return new QcowalError(code, `${this.path}: ${what} failed: ${reasonOf(cause)}`, {
      cause,
      details: { path: this.path },
    });
  }
}
