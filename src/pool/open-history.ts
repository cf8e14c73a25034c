import { hostname } from "node:os";
import { type JournalReader, readJournal, resolvedPath } from "../../journal/index.ts";
import { realEnvironment, topicsOf } from "../engine/index.ts";
import { type HistoryEntry, timeline } from "../history/index.ts";
import { defaultProgram } from "./default-program.ts";
import { type ImageStatus, type StatusOptions, compareWithRecord } from "./status.ts";

export interface HistoryOptions {
  /** How long to try, in milliseconds, while a holder changes the journal's files without a pause. Default 5 000. */
  readonly waitMs?: number;
}

/** A journal as it was when it was opened. */
export interface History extends AsyncDisposable {
  readonly journal: JournalReader;
  /** The record, oldest first: everything, or what touched `image` (which may be gone). */
  history(image?: string): AsyncGenerator<HistoryEntry>;
  /** Compares an image with the record; nothing is recorded of it. */
  status(image: string, options?: StatusOptions): Promise<ImageStatus>;
  /** Idempotent. */
  close(): Promise<void>;
}

/**
 * What `History.status` says where there is no journal yet: the record knows
 * nothing of the image.
 */
export async function statusWithoutHistory(
  journalDir: string,
  image: string,
  options: StatusOptions = {},
): Promise<ImageStatus> {
  const environment = realEnvironment(defaultProgram());
  return (await compareWithRecord(journalDir, environment, image, options)).status;
}

/**
 * Opens the journal in `journalDir` to read only. Works while another process
 * holds it, and keeps nobody from it; nothing is made or written there.
 * @throws QcowalError JOURNAL_NOT_FOUND, JOURNAL_DAMAGED, NO_SPACE, IO_FAILED; JOURNAL_IN_USE
 * when the holder changed its files faster than they could be read
 */
export async function openHistory(journalDir: string, options: HistoryOptions = {}): Promise<History> {
  if (typeof journalDir !== "string" || journalDir === "") {
    throw new TypeError("openHistory needs a directory");
  }
  const { waitMs } = options;
  const journal = await readJournal(journalDir, {
    host: hostname(),
    topicsOf,
    ...(waitMs === undefined ? {} : { patienceMs: waitMs }),
  });
  const close = (): Promise<void> => journal.close();
  return {
    journal,
    async *history(image) {
      yield* timeline(journal, image === undefined ? undefined : await resolvedPath(image));
    },
    async status(image, statusOptions) {
      const { status } = await compareWithRecord(
        journal,
        realEnvironment(defaultProgram()),
        image,
        statusOptions,
      );
      return status;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
