import { mkdir, open, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Level } from "level";
import { QcowalError } from "../src/errors/index.ts";
import type { Store } from "./store.ts";

const FIRST_RETRY_MS = 5;
const LONGEST_RETRY_MS = 100;

/** The code that LevelDB's binding puts on an error, or on its cause. */
function levelCode(error: unknown): string | undefined {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if ("code" in at && typeof at.code === "string" && at.code !== "LEVEL_DATABASE_NOT_OPEN") return at.code;
  }
  return undefined;
}

function messageOf(error: unknown): string {
  let message = String(error);
  for (let at: unknown = error; at instanceof Error; at = at.cause) message = at.message;
  return message;
}

/** LevelDB's errors in our words. Its binding passes errno on as text. */
function storeError(dir: string, what: string, cause: unknown): QcowalError {
  const message = messageOf(cause);
  if (/No space left|Disk quota/i.test(message)) {
    return new QcowalError("NO_SPACE", `${dir}: no space for the journal (${what}).`, { cause });
  }
  if (levelCode(cause) === "LEVEL_CORRUPTION") {
    return new QcowalError(
      "JOURNAL_DAMAGED",
      `${dir}: LevelDB reports damage: ${message}. Nothing was changed; restore the journal from a backup, or run 'qcowal repair --without-journal IMAGE' on the images that are fenced.`,
      { cause },
    );
  }
  return new QcowalError("IO_FAILED", `${dir}: the journal cannot be used (${what}): ${message}.`, { cause });
}

/** Makes a directory and syncs its parents: the first synced record must not be lost together with its folder. */
async function makeDurableDirectory(dir: string): Promise<void> {
  const first = await mkdir(dir, { recursive: true });
  if (first === undefined) return;
  for (let at = dir; ; at = dirname(at)) {
    const handle = await open(dirname(at), "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (at === first) return;
  }
}

/**
 * Opens LevelDB in `dir`, waiting up to `waitMs` while another process has it.
 * @throws QcowalError IO_FAILED, NO_SPACE, JOURNAL_DAMAGED
 * @returns undefined when it is still held after that time
 */
export async function openLevelStore(dir: string, waitMs: number): Promise<Store | undefined> {
  try {
    await makeDurableDirectory(dir);
  } catch (cause) {
    throw storeError(dir, "its directory cannot be made", cause);
  }
  const deadline = performance.now() + waitMs;
  for (let pause = FIRST_RETRY_MS; ; pause = Math.min(pause * 2, LONGEST_RETRY_MS)) {
    const database = new Level<string, Uint8Array>(dir, { keyEncoding: "utf8", valueEncoding: "view" });
    try {
      await database.open();
      return new LevelStore(dir, database, await lockFileOf(dir));
    } catch (cause) {
      await database.close().catch(() => undefined);
      if (levelCode(cause) !== "LEVEL_LOCKED") throw storeError(dir, "open", cause);
    }
    if (performance.now() + pause > deadline) return undefined;
    await sleep(pause);
  }
}

/** Which file locks the database: made once and never replaced, so it tells whether the directory is still the same. */
async function lockFileOf(dir: string): Promise<string | undefined> {
  return stat(join(dir, "LOCK")).then(
    ({ dev, ino }) => `${dev} ${ino}`,
    () => undefined,
  );
}

class LevelStore implements Store {
  readonly #dir: string;
  readonly #database: Level<string, Uint8Array>;
  readonly #lockFile: string | undefined;

  constructor(dir: string, database: Level<string, Uint8Array>, lockFile: string | undefined) {
    this.#dir = dir;
    this.#database = database;
    this.#lockFile = lockFile;
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    return this.#translated("read", () => this.#database.get(key));
  }

  async *entries(from: string, to: string): AsyncGenerator<readonly [string, Uint8Array]> {
    try {
      yield* this.#database.iterator({ gte: from, lte: to });
    } catch (cause) {
      throw storeError(this.#dir, "read", cause);
    }
  }

  async last(): Promise<readonly [string, Uint8Array] | undefined> {
    const [entry] = await this.#translated("read", () =>
      this.#database.iterator({ reverse: true, limit: 1 }).all(),
    );
    return entry;
  }

  async put(entries: readonly (readonly [string, Uint8Array])[], sync: boolean): Promise<void> {
    if (sync) await this.#assertThere();
    // LevelDB's default is sync: false.
    await this.#translated("write", () =>
      this.#database.batch(
        entries.map(([key, value]) => ({ type: "put", key, value })),
        { sync },
      ),
    );
  }

  async close(): Promise<void> {
    await this.#database.close();
  }

  /**
   * LevelDB goes on writing to files that somebody deleted or moved away: their
   * sync succeeds, and after a crash nobody finds what was decided.
   */
  async #assertThere(): Promise<void> {
    if (this.#lockFile === undefined || (await lockFileOf(this.#dir)) === this.#lockFile) return;
    throw new QcowalError(
      "JOURNAL_NOT_FOUND",
      `${this.#dir}: the journal was removed or replaced while it was open. Nothing was changed; open it again.`,
      { details: { journal: this.#dir } },
    );
  }

  async #translated<Result>(what: string, action: () => Promise<Result>): Promise<Result> {
    try {
      return await action();
    } catch (cause) {
      throw storeError(this.#dir, what, cause);
    }
  }
}
