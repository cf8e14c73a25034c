import type { Command } from "commander";
import { openHistory } from "../../index.ts";
import { journalFor } from "../journal-dir.ts";
import { toJson } from "../json.ts";
import { type CommonOptions, poolOptionsOf, withJournalOptions } from "../options.ts";
import { openTerminal } from "../terminal.ts";
import { blameJson, blameText } from "../views/blame.ts";

export function addBlameCommand(program: Command): void {
  withJournalOptions(program.command("blame"))
    .description("who took a snapshot, from what and why, who reverted to it, and how it went")
    .argument("<image>", "qcow2 image; it may be gone")
    .argument("<name>", "name of a snapshot, or the id of one; it may be deleted")
    .addHelpText(
      "after",
      `
Several snapshots may have had the name one after the other: all of them are shown.

Example:
  $ qcowal blame web.qcow2 before-upgrade`,
    )
    .action(blame);
}

async function blame(image: string, name: string, options: CommonOptions): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  const journal = await journalFor([image], options.journal);
  await using history = await openHistory(journal, poolOptionsOf(options));
  const found = await history.blame(image, name);
  terminal.data(options.json === true ? toJson(blameJson(found)) : blameText(found));
}
