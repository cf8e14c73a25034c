import type { Command } from "commander";
import { exportJournal } from "../../../index.ts";
import { interruptible } from "../../interruption.ts";
import { toJson } from "../../json.ts";
import type { CommonOptions } from "../../options.ts";
import { openTerminal } from "../../terminal.ts";
import { printable } from "../../views/text.ts";
import { writeOutput } from "../../write-output.ts";
import { openReader, sayTorn } from "./open-reader.ts";
import { withJournalDir } from "./options.ts";

export function addExportCommand(parent: Command): void {
  withJournalDir(parent.command("export"), "say as JSON what was written to a file; errors too")
    .description("write every record as a line of JSON, to read and to import")
    .argument("[file]", "where to write; - is standard output", "-")
    .addHelpText(
      "after",
      `
Each line has number, kind, transaction, time, body and digest of one record, and
its payload, from which 'qcowal journal import' makes the same journal again, byte
by byte. Bytes in a body read {"$base64": "..."}, large numbers {"$bigint": "..."}.
The chain is verified on the way. A file is replaced when all of it is written.

Examples:
  $ qcowal journal export journal.jsonl
  $ qcowal journal export | jq -c 'select(.kind == "begun") | [.time, .body.actor.user]'
  $ qcowal journal export | zstd > /mnt/elsewhere/journal.jsonl.zst`,
    )
    .action(run);
}

async function run(file: string, options: CommonOptions): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  await using journal = await openReader(options.journal);
  const { digest, sequence } = journal.head;
  terminal.status("exporting ...");
  await interruptible((signal) => {
    const lines = exportJournal(journal, { signal });
    return writeOutput(file, lines, "The export is not complete; the journal was not changed.");
  });
  if (file !== "-" && options.json === true) {
    terminal.data(toJson({ journal: journal.dir, id: journal.id, file, head: { sequence, digest } }));
  }
  terminal.say(`exported ${printable(journal.dir)}; head ${digest} ${sequence}`);
  sayTorn(terminal, journal);
}
