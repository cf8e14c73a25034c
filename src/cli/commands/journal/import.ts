import { createReadStream } from "node:fs";
import { type Readable, addAbortSignal } from "node:stream";
import type { Command } from "commander";
import { importJournal } from "../../../index.ts";
import { interruptible } from "../../interruption.ts";
import { journalHere, namedJournal } from "../../journal-dir.ts";
import { toJson } from "../../json.ts";
import type { CommonOptions } from "../../options.ts";
import { openTerminal } from "../../terminal.ts";
import { plural, printable } from "../../views/text.ts";
import { headOf } from "./head-option.ts";
import { withJournalDir } from "./options.ts";

interface ImportCommandOptions extends CommonOptions {
  readonly head?: string;
}

/** A line of progress for so many records. */
const PROGRESS_STEP = 1000;

export function addImportCommand(parent: Command): void {
  withJournalDir(parent.command("import"))
    .description("make a journal from what 'qcowal journal export' wrote")
    .argument("<file>", "what to read; - is standard input")
    .option(
      "--head <digest>",
      "a digest that has to be there: what was cut off between two lines looks whole",
    )
    .addHelpText(
      "after",
      `
The journal must not exist yet. It gets the id of the one that was exported, so
that it can recover its images, and every digest is verified. Whatever fails or is
called off before the end leaves no journal.

Examples:
  $ qcowal journal import journal.jsonl --journal /var/lib/vms/.qcowal
  $ zstdcat journal.jsonl.zst | qcowal journal import - --head "$(cat head)"`,
    )
    .action(run);
}

function streamOf(file: string): Readable {
  return file === "-" ? process.stdin : createReadStream(file);
}

async function run(file: string, options: ImportCommandOptions): Promise<void> {
  const asked = headOf(options.head);
  const terminal = openTerminal(options.quiet === true);
  const dir = namedJournal(options.journal) ?? (await journalHere());
  const report = await interruptible((signal) =>
    importJournal(addAbortSignal(signal, streamOf(file)), dir, {
      ...asked,
      signal,
      name: file === "-" ? "standard input" : printable(file),
      onProgress: (records) => {
        if (records % PROGRESS_STEP === 0) terminal.status(`importing: ${plural(records, "record")}`);
      },
    }),
  );
  const { journal, records, head } = report;
  if (options.json === true) terminal.data(toJson(report));
  else terminal.data(`${printable(journal)}: ${plural(records, "record")} imported; head ${head} ${records}`);
}
