import type { Command } from "commander";
import { openHistory } from "../../../index.ts";
import { journalHere, namedJournal } from "../../journal-dir.ts";
import { toJson } from "../../json.ts";
import { type CommonOptions, poolOptionsOf, withJournalOptions } from "../../options.ts";
import { openTerminal } from "../../terminal.ts";
import { journalInfoJson, journalInfoText } from "../../views/journal-info.ts";

export function addInfoCommand(parent: Command): void {
  withJournalOptions(parent.command("info"))
    .description("what the journal holds, and how large it is")
    .addHelpText(
      "after",
      `
Without --journal, the journal is .qcowal in the current directory.

Examples:
  $ qcowal journal info
  $ qcowal journal info --json --journal /var/lib/vms/.qcowal | jq .size`,
    )
    .action(info);
}

async function info(options: CommonOptions): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  const dir = namedJournal(options.journal) ?? (await journalHere());
  await using history = await openHistory(dir, poolOptionsOf(options));
  const found = await history.info();
  terminal.data(options.json === true ? toJson(journalInfoJson(found)) : journalInfoText(found));
}
