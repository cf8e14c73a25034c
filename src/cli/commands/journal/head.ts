import type { Command } from "commander";
import { toJson } from "../../json.ts";
import type { CommonOptions } from "../../options.ts";
import { openTerminal } from "../../terminal.ts";
import { openReader, sayTorn } from "./open-reader.ts";
import { withJournalDir } from "./options.ts";

export function addHeadCommand(parent: Command): void {
  withJournalDir(parent.command("head"))
    .description("print digest and number of the last record, to keep elsewhere")
    .addHelpText(
      "after",
      `
One line: the digest, a space, the number. 'qcowal journal verify --head' takes it
as it is. Costs the same for a journal of any length.

Example:
  $ qcowal journal head | logger -t qcowal-head`,
    )
    .action(head);
}

async function head(options: CommonOptions): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  await using journal = await openReader(options.journal);
  const { digest, sequence } = journal.head;
  if (options.json === true)
    terminal.data(toJson({ journal: journal.dir, id: journal.id, sequence, digest }));
  else terminal.data(`${digest} ${sequence}`);
  sayTorn(terminal, journal);
}
