import { statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { hasCode } from "./has-code.ts";
import { syncPath } from "./sync-path.ts";

/** The kernel's clock for files stands still for some milliseconds: a change so long ago is told from any later one. */
const SETTLED_MS = 1000;
const NS_PER_MS = 1_000_000n;

/**
 * The files of an open LevelDB. What is looked at here without giving other work a
 * turn waits for no disk: the kernel keeps what it knows of a directory and of its
 * lock as long as LevelDB has the lock open.
 */
export class LevelFiles {
  readonly #dir: string;
  readonly #lock: string | undefined;
  /** The files that were there when all were synced. */
  #durableNames: string | undefined;
  /** When the directory was changed last before that, in nanoseconds, where that tells it from every later change. */
  #durableAt: bigint | undefined;

  constructor(dir: string) {
    this.#dir = dir;
    this.#lock = this.#lockNow();
  }

  /** False when somebody has removed the directory or put another one in its place: the lock is made once and never replaced. */
  get isThere(): boolean {
    return this.#lock === undefined || this.#lockNow() === this.#lock;
  }

  #lockNow(): string | undefined {
    const found = statSync(join(this.#dir, "LOCK"), { throwIfNoEntry: false });
    return found === undefined ? undefined : `${found.dev} ${found.ino}`;
  }

  /**
   * LevelDB's sync covers the log it writes to now, no other. When it begins
   * another in the middle of a long plan, the old one was never synced, and the
   * name of the new one neither: a power cut could keep a prepare whose parts
   * are lost, or lose it with its file, when the image is fenced already. So
   * after each change of files the older logs and the directory are synced too.
   * A log that is gone is in a table, which LevelDB does sync.
   */
  async syncOthers(): Promise<void> {
    const now = BigInt(Date.now()) * NS_PER_MS;
    const changed = statSync(this.#dir, { bigint: true }).ctimeNs;
    if (changed === this.#durableAt) return;
    const names = (await readdir(this.#dir)).toSorted();
    const known = names.join("/");
    if (known !== this.#durableNames) {
      // Numbered with leading zeros: the last one is what LevelDB has just synced.
      const older = names.filter((name) => name.endsWith(".log")).slice(0, -1);
      for (const name of older) {
        try {
          await syncPath(join(this.#dir, name));
        } catch (error) {
          if (!hasCode(error, "ENOENT")) throw error;
        }
      }
      await syncPath(this.#dir);
      this.#durableNames = known;
    }
    this.#durableAt = now - changed > BigInt(SETTLED_MS) * NS_PER_MS ? changed : undefined;
  }
}
