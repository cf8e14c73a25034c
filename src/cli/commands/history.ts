import { setTimeout as sleep } from "node:timers/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import {
  type History,
  type HistoryEntry,
  type HistoryKind,
  type HistoryQuery,
  type HistoryStatus,
  HISTORY_KINDS,
  isQcowalError,
  journalStamp,
  openHistory,
} from "../../index.ts";
import { paintFor } from "../colours.ts";
import { journalFor, journalHere, namedJournal } from "../journal-dir.ts";
import { toJson, toJsonLine } from "../json.ts";
import { misuse } from "../misuse.ts";
import { parseTime } from "../moment.ts";
import { type CommonOptions, poolOptionsOf, withJournalOptions } from "../options.ts";
import { type Terminal, openTerminal } from "../terminal.ts";
import { HistoryTable, entryJson } from "../views/history.ts";

interface HistoryOptions extends CommonOptions {
  readonly output: "human" | "json" | "jsonl";
  readonly since?: number;
  readonly until?: number;
  readonly lines?: number;
  readonly reverse?: boolean;
  readonly grep?: RegExp;
  readonly operation?: readonly HistoryKind[];
  readonly snapshot?: string;
  readonly actor?: string;
  readonly status?: readonly HistoryStatus[];
  readonly follow?: boolean;
}

const STATUSES = [
  "done",
  "refused",
  "failed",
  "called off",
  "finished by recovery",
  "aborted by recovery",
  "unconfirmed",
  "repaired by a scan",
  "observed",
  "held",
  "released",
  "pending",
] as const satisfies readonly HistoryStatus[];

const FOLLOWED_LINES = 10;
const POLL_MS = 500;

const collected = <Value>(value: Value, previous: readonly Value[] = []): readonly Value[] => [
  ...previous,
  value,
];

export function addHistoryCommand(program: Command): void {
  withJournalOptions(program.command("history"))
    .description("who did what, when and why, and how it ended; oldest first")
    .argument("[image...]", "only what touched these images; they may be gone")
    .option("--since <time>", "begun at that time or later", (text) => parseTime(text))
    .option("--until <time>", "begun at that time or earlier", (text) => parseTime(text))
    .option("-n, --lines <count>", "only the newest so many entries", parseCount)
    .option("-r, --reverse", "newest first")
    .option(
      "-g, --grep <regex>",
      "in names, reasons, actors, images and causes; lower case matches both",
      parsePattern,
    )
    .addOption(
      new Option("--operation <kind>", "only of this kind; may be repeated")
        .choices(HISTORY_KINDS)
        .argParser((text, previous?: readonly HistoryKind[]) =>
          collected(oneOf(HISTORY_KINDS, text), previous),
        ),
    )
    .option("--snapshot <name>", "only about snapshots with this name or id")
    .option("--actor <name>", "only by this actor, user or program")
    .addOption(
      new Option("--status <status>", "only what ended so; may be repeated")
        .choices(STATUSES)
        .argParser((text, previous?: readonly HistoryStatus[]) => collected(oneOf(STATUSES, text), previous)),
    )
    .option("-f, --follow", "go on showing what is recorded, until Ctrl-C; begins with the newest 10")
    .addOption(
      new Option("--output <form>", "how to print; jsonl is one object a line")
        .choices(["human", "json", "jsonl"])
        .default("human"),
    )
    .addHelpText(
      "after",
      `
Times are local: 2026-11-25, '2026-11-25 14:30', today, yesterday, -2h, '3 days ago'.
CHANGED counts refcounts. Without an image and --journal, the journal is .qcowal
in the current directory. It is read beside whoever holds it. 'qcowal show NUMBER'
shows one entry with its plan.

Examples:
  $ qcowal history web.qcow2
  $ qcowal history -n 20 --since yesterday --operation delete
  $ qcowal history -f --output jsonl --journal /var/lib/vms/.qcowal
  $ qcowal history --json | jq '.[] | select(.status != "done")'`,
    )
    .action(history);
}

function parseCount(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("Give a number of entries.");
  return Number(text);
}

/** As journalctl: a pattern without capital letters does not ask for the case. */
function parsePattern(text: string): RegExp {
  try {
    return new RegExp(text, /\p{Lu}/u.test(text) ? "u" : "iu");
  } catch {
    throw new InvalidArgumentError("Give a regular expression.");
  }
}

function oneOf<Choice extends string>(choices: readonly Choice[], text: string): Choice {
  const choice = choices.find((candidate) => candidate === text);
  if (choice === undefined) throw new InvalidArgumentError(`Allowed choices are ${choices.join(", ")}.`);
  return choice;
}

function queryOf(options: HistoryOptions): HistoryQuery {
  const { since, until, lines, reverse, grep, operation, snapshot, actor, status, follow } = options;
  const last = lines ?? (follow === true ? FOLLOWED_LINES : undefined);
  return {
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until }),
    ...(last === undefined ? {} : { last }),
    ...(reverse === undefined ? {} : { reverse }),
    ...(grep === undefined ? {} : { grep }),
    ...(operation === undefined ? {} : { operations: operation }),
    ...(snapshot === undefined ? {} : { snapshot }),
    ...(actor === undefined ? {} : { actor }),
    ...(status === undefined ? {} : { statuses: status }),
  };
}

async function history(images: readonly string[], options: HistoryOptions): Promise<void> {
  const form = options.json === true ? "json" : options.output;
  if (options.follow === true && (form === "json" || options.reverse === true)) {
    throw misuse("--follow has no end: it goes with --output human or jsonl, and not with --reverse");
  }
  const terminal = openTerminal(options.quiet === true);
  const journal = await (images.length === 0 && namedJournal(options.journal) === undefined
    ? journalHere()
    : journalFor(images, options.journal));
  const paths = images.length === 0 ? undefined : images;
  const printer = printerFor(form, journal, terminal);
  const query = queryOf(options);
  const isDefault = namedJournal(options.journal) === undefined && paths !== undefined;
  let position: Position = { from: 1, known: new Set() };
  await withHistory(journal, options, isDefault, async (opened) => {
    for await (const entry of opened.entries(paths, query)) printer.add(entry);
    if (options.follow === true) position = await positionOf(opened);
  });
  printer.end();
  if (options.follow === true) await follow(journal, options, paths, position, printer);
}

/** A default journal that is not there is an empty one; a journal that somebody named has to exist. */
async function withHistory(
  journal: string,
  options: CommonOptions,
  mayBeMissing: boolean,
  use: (history: History) => Promise<void>,
): Promise<void> {
  try {
    await using opened = await openHistory(journal, poolOptionsOf(options));
    await use(opened);
  } catch (error) {
    if (!mayBeMissing || !isQcowalError(error, "JOURNAL_NOT_FOUND")) throw error;
  }
}

/** From where on there may be news, and what of that was there already. */
interface Position {
  readonly from: number;
  readonly known: Set<number>;
}

async function positionOf(history: History): Promise<Position> {
  let from = history.pending()[0];
  const known = new Set<number>();
  if (from === undefined) {
    from = 1;
    for await (const { transaction } of history.entries(undefined, { last: 1 })) from = transaction + 1;
  }
  for await (const { transaction, status } of history.entries(undefined, { from })) {
    if (status !== "pending") known.add(transaction);
  }
  return { from, known };
}

/** The journal is read anew when its files have changed: nobody is held up by that. */
async function follow(
  journal: string,
  options: HistoryOptions,
  paths: readonly string[] | undefined,
  { from, known }: Position,
  printer: Printer,
): Promise<void> {
  const { last: _, ...query } = queryOf(options);
  let stamp = "";
  for (;;) {
    const found = await journalStamp(journal);
    if (found !== stamp) {
      stamp = found;
      await withHistory(journal, options, true, async (opened) => {
        for await (const entry of opened.entries(paths, { ...query, from })) {
          if (entry.status === "pending" || known.has(entry.transaction)) continue;
          known.add(entry.transaction);
          printer.add(entry);
        }
      });
      printer.end();
    }
    await sleep(POLL_MS);
  }
}

interface Printer {
  readonly add: (entry: HistoryEntry) => void;
  readonly end: () => void;
}

function printerFor(form: "human" | "json" | "jsonl", journal: string, terminal: Terminal): Printer {
  if (form === "jsonl") {
    return { add: (entry) => terminal.data(toJsonLine(entryJson(entry))), end: () => undefined };
  }
  const entries: HistoryEntry[] = [];
  const table = new HistoryTable(journal, paintFor(process.stdout));
  let isBegun = false;
  return {
    add: (entry) => void entries.push(entry),
    end() {
      if (form === "json") terminal.data(toJson(entries.map(entryJson)));
      else if (entries.length > 0) terminal.data(table.lines(entries.splice(0), isBegun));
      else if (!isBegun) terminal.say("Nothing is recorded.");
      isBegun = true;
    },
  };
}
