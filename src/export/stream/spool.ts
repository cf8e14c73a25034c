import { randomUUID } from "node:crypto";
import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";

/** A stream that can be read twice. */
export interface Spool {
  /** From its beginning. */
  readonly read: () => AsyncIterable<Uint8Array>;
  /** From any place; fewer bytes than `target` has only at the end. Calls may overlap. */
  readonly readAt: (position: number, target: Uint8Array) => Promise<number>;
  readonly close: () => Promise<void>;
}

/** A regular file; undefined for a pipe or a device, which can be read once. */
export async function openSpool(path: string): Promise<Spool | undefined> {
  const handle = await open(path, "r");
  try {
    if ((await handle.stat()).isFile()) return spoolOf(handle);
  } catch (error) {
    await handle.close();
    throw error;
  }
  await handle.close();
  return undefined;
}

/** Keeps what comes by: a file that has no name, so that nothing is left of it whatever happens. */
export class SpoolWriter {
  readonly #handle: FileHandle;

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /** In a directory that has room for it. */
  static async create(directory: string): Promise<SpoolWriter> {
    const path = join(directory, `.${randomUUID()}.qcowal-spool`);
    const handle = await open(path, "wx+", 0o600);
    await rm(path, { force: true });
    return new SpoolWriter(handle);
  }

  async append(parts: readonly Uint8Array[]): Promise<void> {
    for (const part of parts) await this.#handle.appendFile(part);
  }

  /** What was kept. */
  spool(): Spool {
    return spoolOf(this.#handle);
  }
}

const spoolOf = (handle: FileHandle): Spool => ({
  read: () => handle.createReadStream({ start: 0, autoClose: false, highWaterMark: 1024 * 1024 }),
  readAt: async (position, target) => {
    for (let done = 0; ;) {
      const { bytesRead } = await handle.read(target, done, target.length - done, position + done);
      done += bytesRead;
      if (bytesRead === 0 || done === target.length) return done;
    }
  },
  close: () => handle.close(),
});
