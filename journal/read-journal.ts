import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { QcowalError, isQcowalError, isStorageFailure, reasonOf } from "../src/errors/index.ts";
import { readBirthMark } from "./birth-mark.ts";
import { describeHolder } from "./holder.ts";
import type { JournalHead, JournalReader, RecordRange } from "./journal-reader.ts";
import type { TopicsOf, TransactionsRange } from "./log-index.ts";
import type { JournalInfo } from "./info.ts";
import type { Journal } from "./journal.ts";
import { openJournalOn } from "./open-journal-on.ts";
import { KEEP_ALL } from "./retention.ts";
import type { Link } from "./stub.ts";
import { type LevelView, viewOfLevel } from "./level-view.ts";
import { openLevelStore } from "./level-store.ts";
import { LEVEL_DIR, emptied, journalExists, notFound } from "./open-journal.ts";
import type { StoredRecord } from "./record.ts";
import { resolvedPath } from "./resolved-path.ts";
import type { TornTail } from "./tail.ts";
import type { PendingTransaction } from "./transactions.ts";
import type { JournalVerdict, VerifyOptions } from "./verify-chain.ts";

const DEFAULT_PATIENCE_MS = 5_000;
const FIRST_RETRY_MS = 5;
const LONGEST_RETRY_MS = 100;

export interface ReadJournalOptions {
  /** How long to try, in milliseconds, while a holder that writes without a pause changes files under the reader. Default 5 000. */
  readonly patienceMs?: number;
  /** Name of this host, which tells whether the holder that left its name is still alive. */
  readonly host?: string;
  /** For a journal without an index: which topics a record has. */
  readonly topicsOf?: TopicsOf;
}

/**
 * Reads the journal in a directory, whoever holds it, as it is at this moment:
 * what is appended later is not seen. It takes no lock, waits for nobody, and
 * writes nothing there: nobody who wants to open the journal notices a reader,
 * and one on a read-only file system or of another user can be read. Opening costs
 * what is in LevelDB's log, a few MiB.
 *
 * @throws QcowalError JOURNAL_NOT_FOUND, JOURNAL_DAMAGED, NO_SPACE, IO_FAILED;
 * JOURNAL_IN_USE when no moment was found in which the holder left its files alone
 */
export async function readJournal(path: string, options: ReadJournalOptions = {}): Promise<JournalReader> {
  const dir = await resolvedPath(path);
  if (!(await journalExists(dir))) throw notFound(dir);
  const view = await viewOf(dir, options);
  try {
    const journal = await openView(dir, view, options.topicsOf);
    return new ViewReader(journal, view);
  } catch (error) {
    await view.remove();
    throw unreadable(dir, error);
  }
}

async function viewOf(dir: string, options: ReadJournalOptions): Promise<LevelView> {
  const { patienceMs = DEFAULT_PATIENCE_MS, host } = options;
  const deadline = performance.now() + patienceMs;
  for (let pause = FIRST_RETRY_MS; ; pause = Math.min(pause * 2, LONGEST_RETRY_MS)) {
    let view: LevelView | undefined;
    try {
      view = await viewOfLevel(join(dir, LEVEL_DIR));
    } catch (cause) {
      throw unreadable(dir, cause);
    }
    if (view !== undefined) return view;
    if (performance.now() + pause > deadline) break;
    await sleep(pause);
  }
  if (!(await journalExists(dir))) throw notFound(dir);
  const by = await describeHolder(dir, host);
  throw new QcowalError(
    "JOURNAL_IN_USE",
    `${dir}: the journal is held by ${by ?? "another process"}, which changes its files faster than they can be read. Nothing was changed; tried for ${patienceMs / 1000} s.`,
    { details: { journal: dir, holder: by } },
  );
}

async function openView(dir: string, view: LevelView, topicsOf?: TopicsOf): Promise<Journal> {
  const store = await openLevelStore(view.dir, 0, join(dir, LEVEL_DIR));
  if (store === undefined) throw new Error(`${view.dir} is held by somebody else`);
  try {
    const born = await readBirthMark(dir);
    const journal = await openJournalOn(store, {
      dir,
      create: false,
      retention: KEEP_ALL,
      ...(topicsOf && { topicsOf }),
    });
    // Without both, its first record is still on its way.
    if (journal === undefined && born === undefined) throw notFound(dir);
    if (journal === undefined || (born !== undefined && born !== journal.id)) throw emptied(dir, born);
    return journal;
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Whatever fails of files is as likely to be about the view as about the journal. */
function unreadable(dir: string, cause: unknown): unknown {
  const isOurs = isQcowalError(cause);
  if (isOurs && !isStorageFailure(cause)) return cause;
  const errno = cause instanceof Error && "code" in cause ? cause.code : undefined;
  const isFull = errno === "NO_SPACE" || errno === "ENOSPC" || errno === "EDQUOT";
  return new QcowalError(
    isFull ? "NO_SPACE" : "IO_FAILED",
    `${dir}: the journal cannot be read: ${reasonOf(cause)} Nothing was changed. A reader needs a few MiB in ${tmpdir()}, or where TMPDIR says.`,
    { cause, details: { journal: dir } },
  );
}

/** Only what reads: what were written to a view would be gone with it. */
class ViewReader implements JournalReader {
  readonly #journal: Journal;
  readonly #view: LevelView;
  #closed: Promise<void> | undefined;

  constructor(journal: Journal, view: LevelView) {
    this.#journal = journal;
    this.#view = view;
  }

  get dir(): string {
    return this.#journal.dir;
  }

  get id(): string {
    return this.#journal.id;
  }

  get head(): JournalHead {
    return this.#journal.head;
  }

  get tornTail(): TornTail | undefined {
    return this.#journal.tornTail;
  }

  pending(): readonly PendingTransaction[] {
    return this.#journal.pending();
  }

  parts(transaction: number): AsyncGenerator<unknown> {
    return this.#journal.parts(transaction);
  }

  transactionsOf(topic: string, range?: TransactionsRange): AsyncGenerator<number> {
    return this.#journal.transactionsOf(topic, range);
  }

  recordsOf(...which: Parameters<JournalReader["recordsOf"]>): ReturnType<JournalReader["recordsOf"]> {
    return this.#journal.recordsOf(...which);
  }

  records(range?: RecordRange): AsyncGenerator<StoredRecord> {
    return this.#journal.records(range);
  }

  links(range?: RecordRange): AsyncGenerator<Link> {
    return this.#journal.links(range);
  }

  compactionOf(transaction: number): ReturnType<JournalReader["compactionOf"]> {
    return this.#journal.compactionOf(transaction);
  }

  info(isTopic?: (topic: string) => boolean): Promise<JournalInfo> {
    return this.#journal.info(isTopic);
  }

  verify(options?: VerifyOptions): Promise<JournalVerdict> {
    return this.#journal.verify(options);
  }

  async close(): Promise<void> {
    this.#closed ??= this.#close();
    await this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    try {
      await this.#journal.close();
    } finally {
      await this.#view.remove();
    }
  }
}
