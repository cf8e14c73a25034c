import type { Command } from "commander";
import { addCompactCommand } from "./compact.ts";
import { addInfoCommand } from "./info.ts";

export function addJournalCommand(program: Command): void {
  const journal = program.command("journal").description("look after the journal itself");
  addInfoCommand(journal);
  addCompactCommand(journal);
}
