import type { Command } from "commander";
import { EXIT } from "../../exit-codes.ts";
import { interruptible } from "../../interruption.ts";
import { toJson } from "../../json.ts";
import type { CommonOptions } from "../../options.ts";
import { openTerminal } from "../../terminal.ts";
import { plural } from "../../views/text.ts";
import { headOf } from "./head-option.ts";
import { openReader, sayTorn } from "./open-reader.ts";
import { withJournalDir } from "./options.ts";

interface VerifyOptions extends CommonOptions {
  readonly head?: string;
}

export function addVerifyCommand(parent: Command, answer: (exitCode: number) => void): void {
  withJournalDir(parent.command("verify"))
    .description("prove that no record was edited, moved, removed or added")
    .option(
      "--head <digest>",
      "a digest that 'qcowal journal head' printed earlier: its record must be there",
    )
    .addHelpText(
      "after",
      `
Each record carries the digest of the one before: every change is seen, but for
records cut off at the end. A head that was kept elsewhere shows that as well.

Exit codes:
  0  every record is as it was written
  1  a record is missing or was edited, or none has the digest of --head
  4  whole, but what stood behind the last record is torn and was set aside: the
     trace of a power cut, or of an edit of the very last records

Examples:
  $ qcowal journal head > /mnt/elsewhere/head
  $ qcowal journal verify --head "$(cat /mnt/elsewhere/head)"`,
    )
    .action((options: VerifyOptions) => verify(options, answer));
}

async function verify(options: VerifyOptions, answer: (exitCode: number) => void): Promise<void> {
  const asked = headOf(options.head);
  const terminal = openTerminal(options.quiet === true);
  await using journal = await openReader(options.journal);
  terminal.status("verifying ...");
  const { known, ...verdict } = await interruptible((signal) => journal.verify({ ...asked, signal }));
  const { dir, id, tornTail } = journal;
  if (options.json === true) {
    terminal.data(toJson({ journal: dir, id, ...verdict, known, tornTail }));
  } else {
    terminal.data(
      `${plural(verdict.records, "record")}, all as written${verdict.dropped === 0 ? "" : `, ${plural(verdict.dropped, "intent record")} dropped by compactions that are on the record`}; head ${verdict.head} ${verdict.sequence}`,
    );
    if (known !== undefined) {
      terminal.data(`the head that was given is record ${known.sequence}; ${sinceWords(known.since)}`);
    }
  }
  sayTorn(terminal, journal);
  if (tornTail !== undefined) answer(EXIT.differs);
}

const sinceWords = (since: number): string =>
  since === 0 ? "nothing was recorded since" : `${plural(since, "record")} came since`;
