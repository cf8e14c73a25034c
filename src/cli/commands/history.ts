import type { Command } from "commander";
import { type HistoryEntry, isQcowalError, openHistory } from "../../index.ts";
import { journalBeside, journalHere, namedJournal } from "../journal-dir.ts";
import { toJson } from "../json.ts";
import { type CommonOptions, poolOptionsOf, withJournalOptions } from "../options.ts";
import { openTerminal } from "../terminal.ts";
import { historyJson, historyTable } from "../views/history.ts";

export function addHistoryCommand(program: Command): void {
  withJournalOptions(program.command("history"))
    .description("who did what, when and why, oldest first")
    .argument("[image]", "only what touched this image; it may be gone")
    .addHelpText(
      "after",
      `
Without an image and --journal, the journal is .qcowal in the current directory.

Examples:
  $ qcowal history web.qcow2
  $ qcowal history --json --journal /var/lib/vms/.qcowal | jq '.[] | select(.status != "done")'`,
    )
    .action(history);
}

async function history(image: string | undefined, options: CommonOptions): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  const named = namedJournal(options.journal);
  const journal = named ?? (await (image === undefined ? journalHere() : journalBeside(image)));
  const entries = await readHistory(journal, image, options, named === undefined && image !== undefined);
  if (options.json === true) terminal.data(toJson(historyJson(entries)));
  else if (entries.length > 0) terminal.data(historyTable(journal, entries));
  else terminal.say("Nothing is recorded.");
}

/** A default journal that is not there is an empty one; a journal that somebody named has to exist. */
async function readHistory(
  journal: string,
  image: string | undefined,
  options: CommonOptions,
  mayBeMissing: boolean,
): Promise<readonly HistoryEntry[]> {
  try {
    await using record = await openHistory(journal, poolOptionsOf(options));
    const entries: HistoryEntry[] = [];
    for await (const entry of record.history(image)) entries.push(entry);
    return entries;
  } catch (error) {
    if (mayBeMissing && isQcowalError(error, "JOURNAL_NOT_FOUND")) return [];
    throw error;
  }
}
