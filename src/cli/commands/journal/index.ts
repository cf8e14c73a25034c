import type { Command } from "commander";
import { addCompactCommand } from "./compact.ts";
import { addInfoCommand } from "./info.ts";
import { addExportCommand } from "./export.ts";
import { addHeadCommand } from "./head.ts";
import { addImportCommand } from "./import.ts";
import { addVerifyCommand } from "./verify.ts";

/** What there is to do with the journal itself. */
export function addJournalCommand(program: Command, answer: (exitCode: number) => void): void {
  const command = program
    .command("journal")
    .description("look after the journal itself")
    .helpCommand(false)
    .addHelpText(
      "after",
      `
Without --journal (or QCOWAL_JOURNAL) it is .qcowal in the current directory.
What only reads works while another process holds the journal, and keeps nobody
from it.`,
    );
  addVerifyCommand(command, answer);
  addHeadCommand(command);
  addExportCommand(command);
  addImportCommand(command);
  addInfoCommand(command);
  addCompactCommand(command);
}
