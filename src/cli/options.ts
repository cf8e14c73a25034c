import { type Command, InvalidArgumentError, Option } from "commander";

/** Options that every command has. */
export interface CommonOptions {
  readonly journal?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  /** Milliseconds. */
  readonly wait?: number;
}

export interface WriteOptions extends CommonOptions {
  readonly actor?: string;
  readonly reason?: string;
  readonly dryRun?: boolean;
  readonly force?: boolean;
  readonly auto?: true;
  readonly evenIfHeld?: true;
  readonly dropBitmaps?: boolean;
  /** Do not ask. */
  readonly yes?: boolean;
}

function milliseconds(text: string): number {
  const seconds = Number(text);
  if (text.trim() === "" || !Number.isFinite(seconds) || seconds < 0) {
    throw new InvalidArgumentError("Give a number of seconds.");
  }
  return seconds * 1000;
}

export const journalOption = (): Option =>
  new Option(
    "--journal <dir>",
    "directory of the journal (default: QCOWAL_JOURNAL, or .qcowal beside the image)",
  );

export const waitOption = (): Option =>
  new Option("--wait <seconds>", "how long to wait while another process holds the journal")
    .argParser(milliseconds)
    .default(10_000, "10");

export function withCommonOptions(command: Command): Command {
  return command
    .addOption(journalOption())
    .option("--json", "print JSON")
    .option("-q, --quiet", "print nothing but data and errors");
}

export function withJournalOptions(command: Command): Command {
  return withCommonOptions(command).addOption(waitOption());
}

export function withRecordOptions(command: Command): Command {
  return command
    .option("--actor <name>", "who asks for it, for the history (beside user, host and pid)")
    .option("--reason <text>", "why, for the history");
}

export function withWriteOptions(command: Command): Command {
  return withRecordOptions(withJournalOptions(command)).option(
    "-n, --dry-run",
    "show what would be done; write nothing",
  );
}

/** For what may lose data: see `confirmed`. */
export function withConfirmation(command: Command, flags = "-y, --yes"): Command {
  return command.option(flags, "do not ask, whatever is lost");
}

/** What both `exactOptionalPropertyTypes` and the record want: no key without a value. */
export function recordOf({ actor, reason }: Pick<WriteOptions, "actor" | "reason">): {
  readonly actor?: string;
  readonly reason?: string;
} {
  return { ...(actor === undefined ? {} : { actor }), ...(reason === undefined ? {} : { reason }) };
}

export function poolOptionsOf({ wait }: Pick<CommonOptions, "wait">): {
  readonly program: string;
  readonly waitMs?: number;
} {
  return { program: "qcowal", ...(wait === undefined ? {} : { waitMs: wait }) };
}
