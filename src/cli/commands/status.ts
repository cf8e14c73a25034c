import type { Command } from "commander";
import { type ImageStatus, isQcowalError, openHistory, statusWithoutHistory } from "../../index.ts";
import { EXIT } from "../exit-codes.ts";
import { journalFor, namedJournal } from "../journal-dir.ts";
import { toJson } from "../json.ts";
import { type CommonOptions, poolOptionsOf, withJournalOptions } from "../options.ts";
import { openTerminal } from "../terminal.ts";
import { statusJson, statusText } from "../views/status.ts";

interface StatusOptions extends CommonOptions {
  readonly forceShare?: boolean;
}

export function addStatusCommand(program: Command, answer: (exitCode: number) => void): void {
  withJournalOptions(program.command("status"))
    .description("is the image still what the record says of it?")
    .argument("<image...>", "qcow2 image")
    .option("-U, --force-share", "look at an image that a running VM holds; what is shown may be out of date")
    .addHelpText(
      "after",
      `
Compares the file and its snapshots with the record: what qemu-img or others did
to it, whether it was moved, copied, replaced or restored from a backup. Reads
only, also while another process holds the journal: what it finds is recorded by
the next operation on the image, or by a service that embeds qcowal.

Exit codes:
  0  every image stands as recorded
  4  an image differs, or the record knows nothing of it
  6  an interrupted operation holds an image

Examples:
  $ qcowal status web.qcow2
  $ qcowal status --json *.qcow2 | jq -r '.[] | select(.matches | not) | .image'`,
    )
    .action((images: readonly string[], options: StatusOptions) => status(images, options, answer));
}

async function status(
  images: readonly string[],
  options: StatusOptions,
  answer: (exitCode: number) => void,
): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  const found: ImageStatus[] = [];
  for (const image of images) {
    found.push(await statusOf(image, options));
  }
  if (options.json === true) terminal.data(toJson(found.map(statusJson)));
  else for (const one of found) terminal.data(statusText(one));
  answer(exitOf(found));
}

/** A default journal that is not there knows nothing; one that somebody named has to exist. */
async function statusOf(image: string, options: StatusOptions): Promise<ImageStatus> {
  const journal = await journalFor([image], options.journal);
  const how = { forceShare: options.forceShare === true };
  try {
    await using history = await openHistory(journal, poolOptionsOf(options));
    return await history.status(image, how);
  } catch (error) {
    const isDefault = namedJournal(options.journal) === undefined;
    if (!isDefault || !isQcowalError(error, "JOURNAL_NOT_FOUND")) throw error;
    return statusWithoutHistory(journal, image, how);
  }
}

function exitOf(found: readonly ImageStatus[]): number {
  if (found.some(({ interrupted }) => interrupted !== undefined)) return EXIT.needsRecovery;
  return found.every(({ matches }) => matches) ? EXIT.done : EXIT.differs;
}
