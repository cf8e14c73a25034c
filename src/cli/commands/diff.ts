import type { Command } from "commander";
import {
  type ChangedRange,
  type DiffSides,
  type DiffStep,
  type SnapshotRef,
  diffHistory,
  diffSnapshots,
  diffTotals,
} from "../../index.ts";
import { interruptible } from "../interruption.ts";
import { jsonLines, toJson, toJsonLine } from "../json.ts";
import { misuse } from "../misuse.ts";
import { parseSelector } from "../selector.ts";
import { type Terminal, openTerminal } from "../terminal.ts";
import { percentOf } from "../views/progress.ts";
import { rangeJson, rangeLine, sideJson, sidesLine, stepJson, stepTable } from "../views/diff.ts";
import { printable } from "../views/text.ts";

interface DiffCommandOptions {
  readonly stat?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly forceShare?: boolean;
}

export function addDiffCommand(program: Command): void {
  program
    .command("diff")
    .description("what differs between two snapshots, or a snapshot and the disk as it is")
    .usage(
      "[-U] [--json] [-q] IMAGE FROM [TO]\n       qcowal diff --stat [-U] [--json] [-q] IMAGE [FROM [TO]]",
    )
    .argument("<image>", "qcow2 image")
    .argument("[from]", "snapshot, by its name or id:N")
    .argument("[to]", "another one; default: the disk as it is")
    .option("--stat", "totals only; without FROM, from each snapshot to the next one and to the disk")
    .option("-U, --force-share", "look at an image that a running VM holds; the disk may change meanwhile")
    .option("--json", "print JSON; each range as 'qemu-img map --output=json' has it")
    .option("-q, --quiet", "print nothing but data and errors")
    .addHelpText(
      "after",
      `
Compares how the image maps the disk, without reading content, and no table that
both states share: it takes as long as what differs is large. Ranges are exact to
the cluster, with extended L2 entries to the subcluster. A cluster that was written
again with the same bytes differs, and so do zeros where nothing was said before.
What lies outside of all ranges is the same, byte for byte. VM state is not looked at.

What is printed of each range is how TO has it: data, compressed, zero,
unallocated (a backing file shows through, else zeros), or outside (the disk of TO
is smaller).

Examples:
  $ qcowal diff web.qcow2 monday tuesday
  $ qcowal diff web.qcow2 monday                # to the disk as it is
  $ qcowal diff --stat web.qcow2                # how much each snapshot changed
  $ qcowal diff --json web.qcow2 monday | jq '[.ranges[].length] | add'`,
    )
    .action(diff);
}

async function diff(
  image: string,
  from: string | undefined,
  to: string | undefined,
  options: DiffCommandOptions,
): Promise<void> {
  if (from === undefined && options.stat !== true) throw misuse("Name a snapshot, or use --stat");
  const terminal = openTerminal(options.quiet === true);
  try {
    await interruptible(async (signal) => {
      const common = {
        signal,
        forceShare: options.forceShare === true,
        onProgress: percentOf(terminal, `comparing ${printable(image)}`),
      };
      if (from === undefined) await printHistory(terminal, image, common, options);
      else await printDiff(terminal, image, { from: refOf(from), to: refOf(to) }, common, options);
    });
  } finally {
    terminal.status("");
  }
}

type Common = NonNullable<Parameters<typeof diffHistory>[1]>;

async function printHistory(
  terminal: Terminal,
  image: string,
  common: Common,
  { json }: DiffCommandOptions,
): Promise<void> {
  const steps: DiffStep[] = [];
  for await (const step of diffHistory(image, common)) steps.push(step);
  if (json === true) await terminal.lines(jsonLines(steps.map(stepJson)));
  else if (steps.length > 0) await terminal.lines(stepTable(steps));
  else terminal.say(`${printable(image)} has no snapshots.`);
}

async function printDiff(
  terminal: Terminal,
  image: string,
  refs: { readonly from: SnapshotRef; readonly to: SnapshotRef | undefined },
  common: Common,
  options: DiffCommandOptions,
): Promise<void> {
  let sides: DiffSides | undefined;
  const printer = new RangePrinter(terminal, options.json === true);
  const found = diffSnapshots(image, refs.from, refs.to, {
    ...common,
    onSides: (told) => {
      sides = told;
    },
  });
  const totals = await diffTotals(
    options.stat === true ? found : each(found, (range) => printer.range(range, sides)),
  );
  if (sides === undefined) return;
  if (options.stat === true) {
    const step = { from: sides.from, to: sides.to, totals };
    await terminal.lines(options.json === true ? jsonLines(stepJson(step)) : stepTable([step]));
    return;
  }
  await printer.end(sides, totals);
}

async function* each(
  ranges: AsyncIterable<ChangedRange>,
  visit: (range: ChangedRange) => Promise<void>,
): AsyncGenerator<ChangedRange> {
  for await (const range of ranges) {
    await visit(range);
    yield range;
  }
}

const BATCH = 256;

/** Prints ranges as they are found: there may be millions. */
class RangePrinter {
  readonly #terminal: Terminal;
  readonly #isJson: boolean;
  #lines: string[] = [];
  /** JSON: the last range, which gets a comma when another one follows. */
  #last: string | undefined;
  #isOpen = false;

  constructor(terminal: Terminal, isJson: boolean) {
    this.#terminal = terminal;
    this.#isJson = isJson;
  }

  async range(range: ChangedRange, sides: DiffSides | undefined): Promise<void> {
    if (sides === undefined) return;
    if (this.#isJson) {
      this.#open(sides);
      if (this.#last !== undefined) this.#lines.push(`${this.#last},`);
      this.#last = `    ${toJsonLine(rangeJson(range, sides.hasBacking))}`;
    } else {
      this.#lines.push(rangeLine(range));
    }
    if (this.#lines.length >= BATCH) await this.#write();
  }

  async end(sides: DiffSides, totals: Parameters<typeof sidesLine>[1]): Promise<void> {
    if (this.#isJson) {
      this.#open(sides);
      if (this.#last !== undefined) this.#lines.push(this.#last);
      this.#lines.push(`  ],`, `  "totals": ${toJsonLine(totals)}`, "}");
    }
    await this.#write();
    if (!this.#isJson) this.#terminal.say(sidesLine(sides, totals));
  }

  #open(sides: DiffSides): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    const head = toJson({ image: sides.image, from: sideJson(sides.from), to: sideJson(sides.to) });
    this.#lines.push(`${head.slice(0, -2)},\n  "ranges": [`);
  }

  async #write(): Promise<void> {
    await this.#terminal.lines(this.#lines);
    this.#lines = [];
  }
}

function refOf(text: string): SnapshotRef;
function refOf(text: string | undefined): SnapshotRef | undefined;
function refOf(text: string | undefined): SnapshotRef | undefined {
  if (text === undefined) return undefined;
  const selector = parseSelector(text);
  return "id" in selector ? selector : selector.name;
}
