import type { Command } from "commander";

/** Options of what looks at one journal, without any image. */
export function withJournalDir(command: Command, json = "print JSON"): Command {
  return command
    .option("--journal <dir>", "directory of the journal (default: QCOWAL_JOURNAL, or .qcowal here)")
    .option("--json", json)
    .option("-q, --quiet", "print nothing but data and errors");
}
