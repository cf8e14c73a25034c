import { type Command, InvalidArgumentError } from "commander";
import { type History, type PlannedIntent, isQcowalError, openHistory } from "../../index.ts";
import { journalHere, namedJournal } from "../journal-dir.ts";
import { toJson, toJsonLine } from "../json.ts";
import { type CommonOptions, poolOptionsOf, withJournalOptions } from "../options.ts";
import { type Terminal, openTerminal } from "../terminal.ts";
import { entryText } from "../views/entry.ts";
import { entryJson } from "../views/history.ts";
import { intentJson, intentText } from "../views/intents.ts";
import { plural, shownPath } from "../views/text.ts";

interface ShowOptions extends CommonOptions {
  readonly intents?: number | "all";
}

/** What a person reads; pipes get all. */
const TERMINAL_INTENTS = 40;

export function addShowCommand(program: Command): void {
  withJournalOptions(program.command("show"))
    .description("one transaction in full, with its plan: every intent, phase by phase")
    .argument("<number>", "its number in 'qcowal history'", parseNumber)
    .option(
      "--intents <count>",
      `at most so many intents, or 'all' (default: ${TERMINAL_INTENTS} on a terminal, else all)`,
      parseIntents,
    )
    .addHelpText(
      "after",
      `
Without --journal the journal is .qcowal in the current directory. An offset is
one in the image file; what an intent says holds whatever was there before.

Examples:
  $ qcowal show 12
  $ qcowal show 12 --json | jq '.intents[] | select(.phase == "switch")'`,
    )
    .action(show);
}

function parseNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError("Give the number of a transaction.");
  return Number(text);
}

const parseIntents = (text: string): number | "all" => (text === "all" ? text : parseNumber(text));

async function show(number: number, options: ShowOptions): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  const journal = namedJournal(options.journal) ?? (await journalHere());
  await using history = await openHistory(journal, poolOptionsOf(options));
  const limit = options.intents ?? (process.stdout.isTTY && options.json !== true ? TERMINAL_INTENTS : "all");
  const most = limit === "all" ? Infinity : limit;
  if (options.json === true) await showJson(history, number, most, terminal);
  else await showText(history, number, most, terminal);
}

/** Line by line: a plan may have millions of intents. */
async function showJson(history: History, number: number, most: number, terminal: Terminal): Promise<void> {
  const head = toJson(entryJson(await history.transaction(number)));
  let before = `${head.slice(0, -2)},\n  "intents": [`;
  let count = 0;
  for await (const intent of intentsOf(history, number, terminal)) {
    if (count === most) break;
    terminal.data(before);
    before = `    ${toJsonLine(intentJson(intent))},`;
    count += 1;
  }
  terminal.data(count === 0 ? `${before}]\n}` : `${before.slice(0, -1)}\n  ]\n}`);
}

async function showText(history: History, number: number, most: number, terminal: Terminal): Promise<void> {
  const entry = await history.transaction(number);
  terminal.data(entryText(entry, history.journal.dir));
  let place = "";
  let count = 0;
  for await (const { phase, image, intent } of intentsOf(history, number, terminal)) {
    count += 1;
    if (count > most) continue;
    const heading = `${phase}${entry.images.length === 1 ? "" : ` ${shownPath(image)}`}:`;
    if (heading !== place) terminal.data(heading);
    place = heading;
    terminal.data(`  ${intentText(intent)}`);
  }
  if (count > most) terminal.data(`and ${plural(count - most, "more intent")}: --intents all shows them`);
}

/** Where a compaction has dropped them, that is said, and the rest stands. */
async function* intentsOf(
  history: History,
  number: number,
  terminal: Terminal,
): AsyncGenerator<PlannedIntent> {
  try {
    yield* history.intents(number);
  } catch (error) {
    if (!isQcowalError(error, "JOURNAL_COMPACTED")) throw error;
    terminal.say(error.message);
  }
}
