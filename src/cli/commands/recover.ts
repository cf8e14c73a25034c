import type { Command } from "commander";
import {
  type Pool,
  QcowalError,
  type RecoveryReport,
  isQcowalError,
  listSnapshots,
  openPool,
} from "../../index.ts";
import { errorJson } from "../error-json.ts";
import { EXIT, exitCodeOf } from "../exit-codes.ts";
import { journalBeside, journalHere, namedJournal } from "../journal-dir.ts";
import { toJson } from "../json.ts";
import {
  type CommonOptions,
  poolOptionsOf,
  recordOf,
  withJournalOptions,
  withRecordOptions,
} from "../options.ts";
import { openTerminal } from "../terminal.ts";
import { recoveredLine } from "../views/operations.ts";

interface RecoverOptions extends CommonOptions {
  readonly actor?: string;
  readonly reason?: string;
  readonly dryRun?: boolean;
}

export function addRecoverCommand(program: Command): void {
  withRecordOptions(withJournalOptions(program.command("recover")))
    .description("finish what was interrupted, or prove that it never began")
    .argument("[image...]", "only what is pending on these images; default: everything in the journal")
    .option("-n, --dry-run", "say what would be done; write nothing")
    .addHelpText(
      "after",
      `
Without images and --journal, the journal is .qcowal in the current directory.
It may be killed at any moment and run again.

Examples:
  $ qcowal recover web.qcow2
  $ qcowal recover --journal /var/lib/vms/.qcowal`,
    )
    .action(recover);
}

/** Each journal with the images that are asked for; none means all that are pending in it. */
async function targets(
  images: readonly string[],
  option: string | undefined,
): Promise<Map<string, readonly string[]>> {
  const named = namedJournal(option);
  if (named !== undefined) return new Map([[named, images]]);
  if (images.length === 0) return new Map([[await journalHere(), []]]);
  const groups = new Map<string, string[]>();
  for (const image of images) {
    const journal = await journalBeside(image);
    groups.set(journal, [...(groups.get(journal) ?? []), image]);
  }
  return groups;
}

/** What happened in every journal: what one of them refuses must not hide what was done in another. */
interface Totals {
  readonly recovered: RecoveryReport["recovered"][number][];
  readonly failed: RecoveryReport["failed"][number][];
  /** Failures that no transaction had. */
  readonly errors: QcowalError[];
}

async function recover(images: readonly string[], options: RecoverOptions): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  const totals: Totals = { recovered: [], failed: [], errors: [] };
  for (const [journal, own] of await targets(images, options.journal)) {
    terminal.status("recovering ...");
    try {
      const { recovered, failed } = await recoverIn(journal, own, options);
      totals.recovered.push(...recovered);
      totals.failed.push(...failed);
    } catch (error) {
      if (!isQcowalError(error)) throw error;
      totals.errors.push(error);
    }
  }
  terminal.status("");
  const { recovered, failed, errors } = totals;
  if (options.json === true) {
    const data = failed.map(({ transaction, error }) => ({ transaction, error: errorJson(error) }));
    if (errors.length === 0 || recovered.length + failed.length > 0) {
      terminal.data(toJson({ recovered, failed: data }));
    }
  } else {
    for (const transaction of recovered) terminal.say(recoveredLine(transaction, options.dryRun));
    if (recovered.length + failed.length + errors.length === 0) terminal.say("Nothing to recover.");
  }
  const all = [...failed.map(({ error }) => error), ...errors];
  // What the shell hears is the worst of them: that an image still needs recovery.
  const worst = all.find((error) => exitCodeOf(error) === EXIT.needsRecovery) ?? all[0];
  // As JSON the transactions' failures are in the answer.
  for (const error of options.json === true ? errors : all) if (error !== worst) sayError(error, options);
  if (worst !== undefined) throw worst;
}

function sayError(error: QcowalError, { json }: RecoverOptions): void {
  process.stderr.write(
    `${json === true ? toJson({ error: errorJson(error) }) : `qcowal: ${error.message}`}\n`,
  );
}

async function recoverIn(
  journal: string,
  images: readonly string[],
  options: RecoverOptions,
): Promise<RecoveryReport> {
  const pool = await openExisting(journal, images, options);
  if (pool === undefined) return { recovered: [], failed: [] };
  await using opened = pool;
  return await opened.recover(images.length === 0 ? undefined : images, {
    ...recordOf(options),
    dryRun: options.dryRun === true,
  });
}

/**
 * Undefined when there is no journal and so nothing was ever begun with it: a
 * crash may have come before it was made. The images' own fences have the last
 * word on that, so without images a missing journal is an error.
 */
async function openExisting(
  journal: string,
  images: readonly string[],
  options: RecoverOptions,
): Promise<Pool | undefined> {
  try {
    return await openPool(journal, { ...poolOptionsOf(options), create: false });
  } catch (error) {
    if (isQcowalError(error, "JOURNAL_DAMAGED")) throw (await fencedWithout(images, error)) ?? error;
    if (!isQcowalError(error, "JOURNAL_NOT_FOUND") || images.length === 0) throw error;
    for (const image of images) await listSnapshots(image);
    return undefined;
  }
}

/** What is to be done about the first image that is fenced, now that the journal cannot be read. */
async function fencedWithout(
  images: readonly string[],
  damage: QcowalError,
): Promise<QcowalError | undefined> {
  for (const image of images) {
    try {
      await listSnapshots(image);
    } catch (error) {
      if (!isQcowalError(error, "NEEDS_RECOVERY")) throw error;
      const owner = error.details["owner"] as { readonly transaction: number } | undefined;
      const by =
        owner === undefined ? "an interrupted operation" : `interrupted transaction ${owner.transaction}`;
      return new QcowalError(
        "NEEDS_RECOVERY",
        `${image} is fenced by ${by}, and the journal cannot be used. ${damage.message}`,
        { cause: damage, details: { ...error.details, journal: damage.details["journal"] } },
      );
    }
  }
  return undefined;
}
