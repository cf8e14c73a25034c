import { join } from "node:path";
import { QcowalError, withNothingChanged } from "../src/errors/index.ts";
import { leaveBirthMark, readBirthMark } from "./birth-mark.ts";
import { type JournalHolder, describeHolder, leaveHint, removeHint } from "./holder.ts";
import type { Journal } from "./journal.ts";
import type { TopicsOf } from "./log-index.ts";
import { holdsDatabase, openLevelStore } from "./level-store.ts";
import { openJournalOn } from "./open-journal-on.ts";
import { resolvedPath } from "./resolved-path.ts";

const DEFAULT_WAIT_MS = 10_000;
/** Name of the database in the journal's directory. */
export const LEVEL_DIR = "leveldb";

export interface OpenJournalOptions {
  /** False: JOURNAL_NOT_FOUND when there is none. */
  readonly create: boolean;
  /** How long to wait while another process holds it. Default 10 000 ms. */
  readonly waitMs?: number;
  /** Who we are, for the others to read. */
  readonly holder?: JournalHolder;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** For a journal that an earlier version has written: see `OpenOnOptions`. */
  readonly topicsOf?: TopicsOf;
}

/**
 * Opens the journal in a directory. One process holds it at a time.
 * @throws QcowalError JOURNAL_NOT_FOUND, JOURNAL_IN_USE, JOURNAL_DAMAGED, NO_SPACE, IO_FAILED
 */
export async function openJournal(path: string, options: OpenJournalOptions): Promise<Journal> {
  try {
    return await open(path, options);
  } catch (error) {
    throw withNothingChanged(error);
  }
}

async function open(path: string, options: OpenJournalOptions): Promise<Journal> {
  const { create, waitMs = DEFAULT_WAIT_MS, holder, now = Date.now, topicsOf } = options;
  const dir = await resolvedPath(path);
  const levelDir = join(dir, LEVEL_DIR);
  if (!create && !(await journalExists(dir))) throw notFound(dir);
  const store = await openLevelStore(levelDir, waitMs);
  if (store === undefined) {
    const by = await describeHolder(dir, holder?.host);
    throw new QcowalError(
      "JOURNAL_IN_USE",
      `${dir}: the journal is held by ${by ?? "another process"}. Nothing was changed; waited ${waitMs / 1000} s.`,
      { details: { journal: dir, holder: by } },
    );
  }
  try {
    if (holder !== undefined) await leaveHint(dir, holder, now());
    const onClose = (): Promise<void> => (holder === undefined ? Promise.resolve() : removeHint(dir));
    const born = await readBirthMark(dir);
    const journal = await openJournalOn(store, {
      dir,
      create: create && born === undefined,
      now,
      onClose,
      ...(topicsOf === undefined ? {} : { topicsOf }),
    });
    if (journal === undefined && born === undefined) throw notFound(dir);
    if (journal === undefined || (born !== undefined && born !== journal.id)) throw emptied(dir, born);
    // Where it cannot be left (no space, no permission), the journal is as good as before.
    if (born === undefined) await leaveBirthMark(dir, journal.id).catch(() => undefined);
    return journal;
  } catch (error) {
    await store.close();
    throw error;
  }
}

export function emptied(dir: string, id: string | undefined): QcowalError {
  return new QcowalError(
    "JOURNAL_DAMAGED",
    `${dir}: the journal that was made here (${id}) has lost its records. Nothing was changed; restore it from a backup, or run 'qcowal repair --without-journal IMAGE' on the images that are fenced and move this directory away.`,
    { details: { journal: dir, id } },
  );
}

export function notFound(dir: string): QcowalError {
  return new QcowalError(
    "JOURNAL_NOT_FOUND",
    `${dir}: there is no journal. Nothing was changed; name another with --journal.`,
    {
      details: { journal: dir },
    },
  );
}

/** Whether a directory holds a journal, readable or not. */
export async function journalExists(dir: string): Promise<boolean> {
  return holdsDatabase(join(dir, LEVEL_DIR));
}
