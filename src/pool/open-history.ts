import { hostname } from "node:os";
import { type JournalInfo, type JournalReader, readJournal } from "../../journal/index.ts";
import { isPathTopic, realEnvironment, topicsOf } from "../engine/index.ts";
import {
  type HistoryEntry,
  type Moment,
  type SnapshotNode,
  type SnapshotTree,
  liveNodes,
} from "../history/index.ts";
import { type Blame, type HistoryQuery, HistoryReader, type PlannedIntent } from "./history-reader.ts";
import { defaultProgram } from "./default-program.ts";
import { type ImageStatus, type StatusOptions, compareWithRecord } from "./status.ts";

export interface HistoryOptions {
  /** How long to try, in milliseconds, while a holder changes the journal's files without a pause. Default 5 000. */
  readonly waitMs?: number;
}

/** A journal as it was when it was opened. */
export class History implements AsyncDisposable {
  readonly #journal: JournalReader;
  readonly #reader: HistoryReader;

  /** @internal Use `openHistory`. */
  constructor(journal: JournalReader) {
    this.#journal = journal;
    this.#reader = new HistoryReader(journal);
  }

  /** Its records, to walk, verify or export. */
  get journal(): JournalReader {
    return this.#journal;
  }

  /** As `pool.history`. */
  entries(images?: string | readonly string[], query?: HistoryQuery): AsyncGenerator<HistoryEntry> {
    return this.#reader.entries(images, query);
  }

  /** Numbers of the transactions that are neither settled nor aborted, oldest first: interrupted, or running now. */
  pending(): number[] {
    return this.#journal.pending().map(({ transaction }) => transaction);
  }

  /** As `pool.transaction`. */
  transaction(number: number): Promise<HistoryEntry> {
    return this.#reader.transaction(number);
  }

  /** As `pool.intents`. */
  intents(number: number): AsyncGenerator<PlannedIntent> {
    return this.#reader.intents(number);
  }

  /** As `pool.tree`. */
  tree(image: string, moment?: Moment): Promise<SnapshotTree> {
    return this.#reader.tree(image, moment);
  }

  /** As `pool.asOf`. */
  async asOf(image: string, moment: Moment): Promise<SnapshotNode[]> {
    return liveNodes(await this.#reader.tree(image, moment));
  }

  /** As `pool.blame`. */
  blame(image: string, nameOrId: string): Promise<Blame[]> {
    return this.#reader.blame(image, nameOrId);
  }

  /** As `pool.journalInfo`: its topics are images. */
  info(): Promise<JournalInfo> {
    return this.#journal.info(isPathTopic);
  }

  /** As `pool.status`, but nothing is recorded of it. */
  async status(image: string, options?: StatusOptions): Promise<ImageStatus> {
    const environment = realEnvironment(defaultProgram());
    return (await compareWithRecord(this.#journal, environment, image, options)).status;
  }

  /** Idempotent. */
  close(): Promise<void> {
    return this.#journal.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
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
  return new History(journal);
}
