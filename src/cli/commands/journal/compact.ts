import { type Command, InvalidArgumentError } from "commander";
import { openPool } from "../../../index.ts";
import { journalHere, namedJournal } from "../../journal-dir.ts";
import { toJson } from "../../json.ts";
import {
  type CommonOptions,
  poolOptionsOf,
  recordOf,
  withJournalOptions,
  withRecordOptions,
} from "../../options.ts";
import { openTerminal } from "../../terminal.ts";
import { compactionText } from "../../views/journal-info.ts";

interface CompactCommandOptions extends CommonOptions {
  readonly actor?: string;
  readonly reason?: string;
  readonly keep?: number;
  /** Milliseconds. */
  readonly olderThan?: number;
  readonly dryRun?: boolean;
}

const HOUR = 3_600_000;
const UNITS: Readonly<Record<string, number>> = { h: HOUR, d: 24 * HOUR, w: 7 * 24 * HOUR };

function count(text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number)) {
    throw new InvalidArgumentError("Give a number of transactions.");
  }
  return number;
}

function age(text: string): number {
  const [, number, unit = ""] = /^(\d+)([hdw])$/.exec(text) ?? [];
  const milliseconds = Number(number) * (UNITS[unit] ?? Number.NaN);
  if (!Number.isSafeInteger(milliseconds))
    throw new InvalidArgumentError("Give hours, days or weeks: 12h, 30d, 4w.");
  return milliseconds;
}

export function addCompactCommand(parent: Command): void {
  withRecordOptions(withJournalOptions(parent.command("compact")))
    .description("drop the intents of what is over, and give their space back")
    .option("--keep <n>", "keep those of the newest n transactions", count)
    .option("--older-than <age>", "drop only those of transactions that ended so long ago: 12h, 30d, 4w", age)
    .option("-n, --dry-run", "say what would be dropped; write nothing")
    .addHelpText(
      "after",
      `
Intents are what recovery needs to finish or undo a transaction: those of a
transaction that is over are of use to nobody but an inquiry. Who did what, when
and why stays on the record, and the chain of records still verifies. Without
options all of them go; with both, those that neither keeps. What is pending is
never touched.

By itself the journal keeps those of the newest 1,000 transactions, and no more
than 32 MiB.

Without --journal, the journal is .qcowal in the current directory.

Examples:
  $ qcowal journal compact --dry-run
  $ qcowal journal compact --keep 100 --older-than 30d`,
    )
    .action(compact);
}

async function compact(options: CompactCommandOptions): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  const dir = namedJournal(options.journal) ?? (await journalHere());
  const { keep, olderThan, dryRun = false } = options;
  await using pool = await openPool(dir, { ...poolOptionsOf(options), create: false });
  const report = await pool.compact({
    ...recordOf(options),
    ...(keep === undefined ? {} : { keepTransactions: keep }),
    ...(olderThan === undefined ? {} : { olderThan: Date.now() - olderThan }),
    dryRun,
  });
  if (options.json === true) terminal.data(toJson(report));
  else terminal.say(compactionText(report));
}
