import { type Journal, journalExists, openJournal, resolvedPath } from "../../journal/index.ts";
import { isQcowalError } from "../errors/index.ts";
import {
  type RepairReport,
  type Repairer,
  currentActor,
  readFence,
  realEnvironment,
  refuseRecoverable,
  repairByScan,
  topicsOf,
} from "../engine/index.ts";
import { defaultProgram } from "./default-program.ts";

export interface RepairOptions {
  /** Directory of a journal that takes a note, and is asked whether it can recover the image; it need not exist, and none is made. */
  readonly journal?: string;
  /** A name for the record, beside user, host, pid and program. */
  readonly actor?: string;
  /** Why, for the record. */
  readonly reason?: string;
  /** Scan only: report what would be done, write nothing. */
  readonly dryRun?: boolean;
  /** Ends the scan with ABORTED; when that is done and the first byte is written, it has no effect. */
  readonly signal?: AbortSignal;
  /** How long to wait, in milliseconds, while another process holds a journal. Default 10 000. */
  readonly waitMs?: number;
  /** Name of the embedding program, for the record. Default: that of the running script. */
  readonly program?: string;
}

/**
 * Repairs a fenced image whose journal is lost, by a scan of all its tables. The
 * image is then wholly as before the interrupted transaction or wholly as after
 * it, whichever its header shows, and free again. It may be killed and run
 * again. Refuses while the journal that fenced the image, or the one in
 * `options`, can still recover it.
 *
 * @throws QcowalError before anything is changed: NOTHING_TO_REPAIR when the image is not fenced,
 * NEEDS_RECOVERY when a journal can recover it, IMAGE_DAMAGED (with `findings` in its details) for what no
 * transaction leaves, IMAGE_NOT_FOUND, IMAGE_IN_USE, JOURNAL_IN_USE, LIMIT_EXCEEDED, ABORTED
 * @throws QcowalError IO_FAILED: the fence may still stand; run it again
 */
export async function repairWithoutJournal(
  image: string,
  options: RepairOptions = {},
): Promise<RepairReport> {
  const environment = realEnvironment(options.program ?? defaultProgram());
  const path = await environment.resolvePath(image);
  const by: Repairer = {
    actor: currentActor(environment.program, options.actor),
    ...(options.reason === undefined ? {} : { reason: options.reason }),
    ...(options.dryRun === undefined ? {} : { dryRun: options.dryRun }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  };
  const owner = await readFence(environment, path);
  await using journals = new OpenJournals();
  for (const dir of [owner?.journal, options.journal]) {
    if (dir !== undefined) await journals.open(dir, environment.program, options.waitMs);
  }
  for (const journal of journals.all) await refuseRecoverable({ journal, environment }, path, owner, by);
  // The note belongs where the interrupted transaction is recorded, if that journal can still be read.
  const journal = journals.all.find(({ id }) => id === owner?.journalId) ?? journals.all.at(-1);
  return await repairByScan(environment, path, by, journal);
}

/** Journals that are there and can be read; the others are what this repair is for. */
class OpenJournals implements AsyncDisposable {
  readonly all: Journal[] = [];

  async open(path: string, program: string, waitMs: number | undefined): Promise<void> {
    const dir = await resolvedPath(path);
    if (this.all.some((journal) => journal.dir === dir) || !(await journalExists(dir))) return;
    const { host, pid } = currentActor(program, undefined);
    try {
      const journal = await openJournal(dir, {
        create: false,
        ...(waitMs === undefined ? {} : { waitMs }),
        holder: { host, pid, program },
        topicsOf,
      });
      this.all.push(journal);
    } catch (error) {
      const isLost = ["JOURNAL_DAMAGED", "JOURNAL_NOT_FOUND"] as const;
      if (!isLost.some((code) => isQcowalError(error, code)) && !isUnreadable(error)) throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const journal of this.all) await journal.close();
  }
}

/** LevelDB says so of files that are gone or bad; without permission nobody knows what it holds. */
const isUnreadable = (error: unknown): boolean =>
  isQcowalError(error, "IO_FAILED") && !error.message.includes("Permission denied");
