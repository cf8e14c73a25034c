import { access, mkdir, mkdtemp, readdir, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Level } from "level";
import { QcowalError } from "../src/errors/index.ts";
import { hasCode } from "./has-code.ts";
import { LevelFiles } from "./level-files.ts";
import { mendManifest } from "./mend-manifest.ts";
import type { Entry, Store } from "./store.ts";
import { syncPath } from "./sync-path.ts";

const FIRST_RETRY_MS = 5;
const LONGEST_RETRY_MS = 100;
/** LevelDB itself begins a new log after 4 MiB. */
const LONG_LOG_BYTES = 512 * 1024;

/** In Node, `level` is classic-level, whose own methods its types leave out. */
type Database = Level<string, Uint8Array> & { compactRange(from: string, to: string): Promise<void> };

/** Loaded when a journal is opened: commands that need none start without it. */
const loadLevel = async (): Promise<typeof Level> => (await import("level")).Level;

/** It begins to open by itself in the next tick, and would then try twice: `open` has to be called at once. */
const newDatabase = (Opened: typeof Level, dir: string): Database =>
  new Opened<string, Uint8Array>(dir, { keyEncoding: "utf8", valueEncoding: "view" }) as Database;

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

/** LevelDB's errors in our words. Its binding passes errno on as text. `shown` stands for `dir` in them. */
function storeError(dir: string, what: string, cause: unknown, shown: string): QcowalError {
  const message = messageOf(cause).replaceAll(dir, shown);
  if (/No space left|Disk quota/i.test(message)) {
    return new QcowalError("NO_SPACE", `${shown}: no space for the journal (${what}).`, { cause });
  }
  if (levelCode(cause) === "LEVEL_CORRUPTION") {
    return new QcowalError(
      "JOURNAL_DAMAGED",
      `${shown}: LevelDB reports damage: ${message}. Nothing was changed; restore the journal from a backup, or run 'qcowal repair --without-journal IMAGE' on the images that are fenced.`,
      { cause },
    );
  }
  return new QcowalError("IO_FAILED", `${shown}: the journal cannot be used (${what}): ${message}.`, {
    cause,
  });
}

/**
 * Makes a directory and syncs all above it on this file system, whoever made
 * them: a process that was killed between mkdir and sync leaves folders that
 * look as if they had been there for ever, and with them the first synced
 * record would be lost in a power cut.
 */
async function makeDurableDirectory(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true });
  const { dev } = await stat(dir);
  for (let at = dirname(dir); (await stat(at)).dev === dev; at = dirname(at)) {
    try {
      await syncPath(at);
    } catch (error) {
      // What we may not even list was not made for this journal.
      if (!hasCode(error, "EACCES")) throw error;
    }
    if (at === dirname(at)) return;
  }
}

/** LevelDB's own sign that a directory holds a database. */
export async function holdsDatabase(dir: string): Promise<boolean> {
  return access(join(dir, "CURRENT")).then(
    () => true,
    () => false,
  );
}

/**
 * Makes an empty database beside its place and moves it there, so that there is
 * one or none. LevelDB's own way is not safe: it writes a first MANIFEST that it
 * never syncs, points CURRENT at it, and syncs the directory before it points
 * CURRENT at the second one. A power cut within the first transaction could
 * leave CURRENT with the first name and that file empty: a journal that no
 * longer opens beside an image that is fenced.
 */
async function createDatabase(dir: string): Promise<void> {
  const parent = dirname(dir);
  await makeDurableDirectory(parent);
  const prefix = prefixOfNew(dir);
  try {
    const fresh = await mkdtemp(join(parent, prefix));
    const database = newDatabase(await loadLevel(), fresh);
    await database.open();
    await database.close();
    await syncPath(fresh);
    await rename(fresh, dir);
  } catch (error) {
    // Somebody else was faster, and has perhaps tidied ours away.
    if (!(await holdsDatabase(dir))) throw error;
  }
  await tidyNew(dir);
}

const prefixOfNew = (dir: string): string => `${basename(dir)}.new-`;

/** What is in its place stays; ours that came too late goes, and those of processes that were killed. */
async function tidyNew(dir: string): Promise<void> {
  const parent = dirname(dir);
  await syncPath(parent);
  for (const name of await readdir(parent)) {
    if (name.startsWith(prefixOfNew(dir))) await rm(join(parent, name), { recursive: true, force: true });
  }
}

/**
 * Makes a database with what `fill` puts into it, and moves it to its place when
 * all of it is durable. Whatever fails or is killed before leaves nothing there.
 * @throws QcowalError IO_FAILED, NO_SPACE; what `fill` throws
 * @returns false when there is a database already
 */
export async function makeLevelStore(dir: string, fill: (store: Store) => Promise<void>): Promise<boolean> {
  if (await holdsDatabase(dir)) return false;
  let fresh: string | undefined;
  try {
    await makeDurableDirectory(dirname(dir));
    fresh = await mkdtemp(join(dirname(dir), prefixOfNew(dir)));
    const store = await openLevelStore(fresh, 0, dir);
    if (store === undefined) throw new Error(`${fresh} is held by somebody else`);
    try {
      await fill(store);
    } finally {
      await store.close();
    }
    for (const name of await readdir(fresh)) await syncPath(join(fresh, name));
    await syncPath(fresh);
    await rename(fresh, dir);
    await tidyNew(dir);
    return true;
  } catch (cause) {
    if (fresh !== undefined) await rm(fresh, { recursive: true, force: true });
    // Somebody else was faster, and has perhaps tidied ours away.
    if (await holdsDatabase(dir)) return false;
    if (cause instanceof QcowalError) throw cause;
    throw storeError(fresh ?? dir, "it cannot be made", cause, dir);
  }
}

/**
 * Directories that this process has open. LevelDB's lock is of the kind that a
 * process loses when it closes any descriptor of the file, and LevelDB opens the
 * file before it looks whether this process has it already: the second one to
 * ask is refused, and the first one holds nothing any more.
 */
const heldHere = new Set<string>();

/**
 * Opens LevelDB in `dir`, waiting up to `waitMs` while somebody has it. Errors
 * speak of `shown`.
 * @throws QcowalError IO_FAILED, NO_SPACE, JOURNAL_DAMAGED
 * @returns undefined when it is still held after that time
 */
export async function openLevelStore(
  dir: string,
  waitMs: number,
  shown: string = dir,
): Promise<Store | undefined> {
  let key: string;
  try {
    if (!(await holdsDatabase(dir))) await createDatabase(dir);
    key = await realpath(dir);
  } catch (cause) {
    throw storeError(dir, "it cannot be made", cause, shown);
  }
  const Opened = await loadLevel();
  const deadline = performance.now() + waitMs;
  let wasMended = false;
  for (let pause = FIRST_RETRY_MS; ; pause = Math.min(pause * 2, LONGEST_RETRY_MS)) {
    if (!heldHere.has(key)) {
      heldHere.add(key);
      const release = (): boolean => heldHere.delete(key);
      const database = newDatabase(Opened, dir);
      try {
        await database.open();
        return new LevelStore({ dir, shown, database, release });
      } catch (cause) {
        await database.close().catch(() => undefined);
        const isDamaged = levelCode(cause) === "LEVEL_CORRUPTION";
        const isMended = isDamaged && !wasMended && (await mendManifest(dir));
        release();
        if (isMended) {
          wasMended = true;
          continue;
        }
        if (levelCode(cause) !== "LEVEL_LOCKED") throw storeError(dir, "open", cause, shown);
      }
    }
    if (performance.now() + pause > deadline) return undefined;
    await sleep(pause);
  }
}

interface LevelState {
  readonly dir: string;
  readonly shown: string;
  readonly database: Database;
  /** Called when the database is closed. */
  readonly release: () => void;
}

class LevelStore implements Store {
  readonly #dir: string;
  readonly #shown: string;
  readonly #database: Database;
  readonly #files: LevelFiles;
  readonly #release: () => void;

  constructor({ dir, shown, database, release }: LevelState) {
    this.#dir = dir;
    this.#shown = shown;
    this.#database = database;
    this.#files = new LevelFiles(dir);
    this.#release = release;
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    return this.#translated("read", () => this.#database.get(key));
  }

  async getMany(keys: readonly string[]): Promise<(Uint8Array | undefined)[]> {
    return this.#translated("read", () => this.#database.getMany([...keys]));
  }

  async *entries(from: string, to: string, reverse = false): AsyncGenerator<Entry> {
    try {
      yield* this.#database.iterator({ gte: from, lte: to, reverse });
    } catch (cause) {
      throw storeError(this.#dir, "read", cause, this.#shown);
    }
  }

  async last(): Promise<Entry | undefined> {
    const [entry] = await this.#translated("read", () =>
      this.#database.iterator({ reverse: true, limit: 1 }).all(),
    );
    return entry;
  }

  async put(entries: readonly Entry[], sync: boolean, stale: readonly string[] = []): Promise<void> {
    if (sync) this.#assertThere();
    // LevelDB's default is sync: false.
    await this.#translated("write", () =>
      this.#database.batch(
        [
          ...entries.map(([key, value]) => ({ type: "put" as const, key, value })),
          ...stale.map((key) => ({ type: "del" as const, key })),
        ],
        { sync },
      ),
    );
    if (sync) await this.#translated("sync", () => this.#files.syncOthers());
  }

  async compact(from: string, to: string): Promise<void> {
    await this.#translated("compact", () => this.#database.compactRange(from, to));
  }

  async size(): Promise<number> {
    return this.#translated("read", () => this.#sizeOf(() => true));
  }

  async #sizeOf(isMeant: (name: string) => boolean): Promise<number> {
    let bytes = 0;
    for (const name of await readdir(this.#dir)) {
      if (!isMeant(name)) continue;
      // LevelDB removes files when it likes.
      const found = await stat(join(this.#dir, name)).catch(() => undefined);
      bytes += found?.size ?? 0;
    }
    return bytes;
  }

  async close(): Promise<void> {
    // What is looked at as a copy is thrown away as it is.
    if (this.#shown === this.#dir) await this.#shortenLog().catch(() => undefined);
    await this.#database.close();
    this.#release();
  }

  /** The next one to open it has to replay the log: a long one is turned into a table first, as it would be then. */
  async #shortenLog(): Promise<void> {
    if ((await this.#sizeOf((name) => name.endsWith(".log"))) <= LONG_LOG_BYTES) return;
    // Compacting any range, one without a key too, begins with that.
    await this.#database.compactRange("~", "~~");
  }

  /**
   * LevelDB goes on writing to files that somebody deleted or moved away: their
   * sync succeeds, and after a crash nobody finds what was decided.
   */
  #assertThere(): void {
    if (this.#files.isThere) return;
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
      throw storeError(this.#dir, what, cause, this.#shown);
    }
  }
}
