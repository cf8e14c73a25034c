import { readFile } from "node:fs/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import { journalExists } from "../../../journal/index.ts";
import {
  type PruneReport,
  type RetentionPolicy,
  openPool,
  parseDuration,
  parseSize,
  planPrune,
  policyFrom,
} from "../../index.ts";
import { assertPruneConfirmed, mayAskToPrune } from "../confirm.ts";
import { interruptible } from "../interruption.ts";
import { journalFor } from "../journal-dir.ts";
import { toJson } from "../json.ts";
import { misuse } from "../misuse.ts";
import {
  type WriteOptions,
  poolOptionsOf,
  recordOf,
  withConfirmation,
  withWriteOptions,
} from "../options.ts";
import { plannedAfter, recoverFirst } from "../recover-first.ts";
import { type Terminal, openTerminal } from "../terminal.ts";
import { pruneJson, pruneLines, verdictTable } from "../views/prune.ts";

interface PruneCommandOptions extends WriteOptions, Omit<RetentionPolicy, "timeZone"> {
  readonly tz?: string;
  readonly policy?: string;
  readonly group?: boolean;
  readonly explain?: boolean;
}

export function addPruneCommand(program: Command, answer: (exitCode: number) => void): void {
  // Its -y is the one of restic, for years.
  const command = withConfirmation(withWriteOptions(program.command("prune")), "--yes")
    .description("remove the snapshots that no rule keeps")
    .argument("<image...>", "qcow2 images, each pruned for itself");
  for (const [flags, what] of [
    ["-l, --keep-last <n>", "the newest n"],
    ["-H, --keep-hourly <n>", "the newest of each of the last n hours that have snapshots"],
    ["-d, --keep-daily <n>", "the same of days"],
    ["-w, --keep-weekly <n>", "the same of weeks, from Monday on"],
    ["-m, --keep-monthly <n>", "the same of months"],
    ["-y, --keep-yearly <n>", "the same of years"],
  ] as const) {
    command.option(flags, what, parseCount);
  }
  command
    .option(
      "--keep-within <duration>",
      "what was taken within it before the newest (1y5m7d2h)",
      checked(parseDuration),
    )
    .addOption(
      new Option("--keep-name <glob>", "what has a name like that; may be repeated").argParser(
        (text, previous?: readonly string[]) => [...(previous ?? []), text],
      ),
    )
    .option(
      "--min-age <duration>",
      "nothing younger than that goes, whatever the rules say",
      checked(parseDuration),
    )
    .option(
      "--max-space <size>",
      "the oldest go until the rest has no more exclusive bytes (10G)",
      checked(parseSize),
    )
    .option("--tz <zone>", "time zone of the calendar, as Europe/Berlin (default: UTC)")
    .option("--all", "also what a person took, not only what is marked as automatic")
    .option("--policy <file>", "rules from a JSON file, with these names; flags come first")
    .option("--group", "all images in one transaction: all or none")
    .option("--explain", "say of each snapshot what becomes of it, and why")
    .addHelpText(
      "after",
      `
Only snapshots of 'qcowal create --auto' go, unless --all is given. Rules mean
what they mean to 'restic forget': what any of them keeps, stays; -1 is all of
them. Hours, days and the like count where there are snapshots, by the calendar.
A policy without a keep rule is refused.

--max-space takes what only count or duration keep, too: of those that the other
rules leave it removes the oldest until the sum of 'exclusive' in 'check --usage'
fits. What several snapshots share counts for none of them until the others are
gone: the next run sees that. Dates are shown in the time of this machine.

Examples:
  $ qcowal prune -H 24 -d 7 -w 4 web.qcow2 --dry-run
  $ qcowal prune --policy nightly.json --group system.qcow2 data.qcow2
  $ qcowal prune --keep-within 30d --max-space 20G web.qcow2`,
    )
    .action(async (images: string[], options: PruneCommandOptions) => answer(await prune(images, options)));
}

function parseCount(text: string): number {
  if (text === "unlimited") return -1;
  if (!/^(-1|\d{1,6})$/.test(text))
    throw new InvalidArgumentError("Give a number of snapshots, or -1 for all.");
  return Number(text);
}

/** The text as it is, once it can be read. */
const checked =
  (parse: (text: string) => unknown) =>
  (text: string): string => {
    try {
      parse(text);
      return text;
    } catch (error) {
      throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
    }
  };

const RULES = [
  "keepLast",
  "keepHourly",
  "keepDaily",
  "keepWeekly",
  "keepMonthly",
  "keepYearly",
  "keepWithin",
  "keepName",
  "minAge",
  "maxSpace",
  "tz",
  "all",
] as const;

async function policyOf(options: PruneCommandOptions): Promise<RetentionPolicy> {
  const flags = Object.fromEntries(
    RULES.flatMap((name) =>
      options[name] === undefined ? [] : [[name === "tz" ? "timeZone" : name, options[name]]],
    ),
  );
  if (options.policy === undefined) return policyFrom(flags);
  let text: unknown;
  try {
    text = JSON.parse(await readFile(options.policy, "utf8"));
  } catch (error) {
    throw misuse(`--policy ${options.policy}: ${error instanceof Error ? error.message : String(error)}`);
  }
  return policyFrom({ ...policyFrom(text), ...flags });
}

async function prune(images: readonly string[], options: PruneCommandOptions): Promise<number> {
  const terminal = openTerminal(options.quiet === true);
  const policy = await policyOf(options);
  const journal = await journalFor(images, options.journal);
  const report = await reportOf({ terminal, images, policy, journal, options });
  if (options.json === true) terminal.data(toJson(pruneJson(report)));
  else {
    if (options.explain === true || report.dryRun) {
      for (const image of report.images) await terminal.lines(verdictTable(image));
    }
    for (const line of pruneLines(report)) terminal.say(line);
    if (options.dryRun === true) terminal.say("Nothing was changed: this was a dry run.");
  }
  return report.failed.length === 0 ? 0 : 1;
}

interface Wanted {
  readonly terminal: Terminal;
  readonly images: readonly string[];
  readonly policy: RetentionPolicy;
  readonly journal: string;
  readonly options: PruneCommandOptions;
}

/** What is asked about is how it will be when what is pending is recovered, as the prune itself does. */
async function planned(wanted: Wanted): Promise<PruneReport> {
  const { terminal, images, journal, options } = wanted;
  const recover = (some: readonly string[]): Promise<boolean> =>
    recoverFirst(terminal, some, journal, options);
  const plan = (): Promise<PruneReport> => dryRun(wanted);
  const first = await plannedAfter(() => recover(images), plan);
  const stuck = first.failed.filter(({ error }) => error.code === "NEEDS_RECOVERY");
  const isFree = stuck.length > 0 && (await recover(stuck.map(({ image }) => image)));
  return isFree ? plan() : first;
}

const dryRun = ({ images, policy, journal, options }: Wanted): Promise<PruneReport> =>
  interruptible((signal) => planPrune(journal, images, policy, { group: options.group === true, signal }));

async function reportOf(wanted: Wanted): Promise<PruneReport> {
  const { images, policy, journal, options } = wanted;
  const group = options.group === true;
  if (options.dryRun === true) return dryRun(wanted);
  let agreed: PruneReport | undefined;
  const isNew = !(await journalExists(journal));
  if (isNew || mayAskToPrune(options)) {
    agreed = await planned(wanted);
    // Where nothing goes, no new journal is left beside the image.
    if (isNew && agreed.images.every(({ verdicts }) => verdicts.every(({ keep }) => keep)))
      return { ...agreed, dryRun: false };
    await assertPruneConfirmed(agreed, options);
  }
  await using pool = await openPool(journal, poolOptionsOf(options));
  const how = { ...recordOf(options), group, ...(agreed === undefined ? {} : { agreed }) };
  return await interruptible((signal) => pool.prune(images, policy, { ...how, signal }));
}
