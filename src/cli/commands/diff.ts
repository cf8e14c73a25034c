import type { Command } from "commander";
import {
  type ByteRange,
  type ChangedRange,
  type DiffSides,
  type DiffStep,
  type OpenState,
  type SnapshotRef,
  diffContent,
  diffHistory,
  diffSnapshots,
  diffTotals,
} from "../../index.ts";
import { interruptible } from "../interruption.ts";
import { jsonLines, toJson, toJsonLine } from "../json.ts";
import { misuse } from "../misuse.ts";
import { progressMeter } from "../progress-meter.ts";
import { refOf } from "../selector.ts";
import { type Terminal, openTerminal } from "../terminal.ts";
import {
  contentLine,
  rangeJson,
  rangeLine,
  sideJson,
  sidesLine,
  stepJson,
  stepTable,
} from "../views/diff.ts";
import { printable } from "../views/text.ts";

interface DiffCommandOptions {
  readonly stat?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly forceShare?: boolean;
  readonly content?: boolean;
  readonly openState?: OpenState;
}

/** With `openState` there is also the comparison by content. */
export function addDiffCommand(program: Command, openState?: OpenState): void {
  const command = program
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
    .action((image: string, from: string | undefined, to: string | undefined, options: DiffCommandOptions) =>
      diff(image, from, to, { ...options, ...(openState === undefined ? {} : { openState }) }),
    );
  if (openState === undefined) return;
  command.option(
    "--content",
    "compare the bytes where the mapping differs: only what really differs, to 512 bytes",
  );
}

async function diff(
  image: string,
  from: string | undefined,
  to: string | undefined,
  options: DiffCommandOptions,
): Promise<void> {
  if (from === undefined && options.stat !== true) throw misuse("Name a snapshot, or use --stat");
  if (options.content === true && options.stat === true) {
    throw misuse("--stat counts what is mapped differently: it does not go with --content");
  }
  const terminal = openTerminal(options.quiet === true);
  try {
    await interruptible(async (signal) => {
      const common = {
        signal,
        forceShare: options.forceShare === true,
        onProgress: progressMeter(terminal, `comparing ${printable(image)}`),
      };
      if (from === undefined) await printHistory(terminal, image, common, options);
      else if (options.content === true && options.openState !== undefined) {
        const refs = { from: refOf(from), to: to === undefined ? undefined : refOf(to) };
        await printContent(terminal, image, refs, options.openState, common, options.json === true);
      } else
        await printDiff(
          terminal,
          image,
          { from: refOf(from), to: to === undefined ? undefined : refOf(to) },
          common,
          options,
        );
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
  const printer = new RangePrinter(terminal, options.json === true, { line: rangeLine, json: rangeJson });
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

/** Ranges of bytes; how they are stored was not the question. */
async function printContent(
  terminal: Terminal,
  image: string,
  refs: { readonly from: SnapshotRef; readonly to: SnapshotRef | undefined },
  openState: OpenState,
  common: Common,
  isJson: boolean,
): Promise<void> {
  let sides: DiffSides | undefined;
  const found = diffContent(image, refs.from, refs.to, openState, {
    ...common,
    onSides: (told) => {
      sides = told;
    },
  });
  const printer = new RangePrinter(terminal, isJson, contentText);
  const totals = { ranges: 0, bytes: 0 };
  for await (const range of found) {
    totals.ranges += 1;
    totals.bytes += range.length;
    await printer.range(range, sides);
  }
  if (sides !== undefined) await printer.end(sides, totals);
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

/** How a range is printed. */
interface RangeText<Range> {
  readonly line: (range: Range) => string;
  readonly json: (range: Range, hasBacking: boolean) => object;
}

const contentText: RangeText<ByteRange> = {
  line: contentLine,
  json: ({ offset, length }) => ({ start: offset, length }),
};

const BATCH = 256;

/** Prints ranges as they are found: there may be millions. */
class RangePrinter<Range> {
  readonly #terminal: Terminal;
  readonly #isJson: boolean;
  readonly #text: RangeText<Range>;
  #lines: string[] = [];
  /** JSON: the last range, which gets a comma when another one follows. */
  #last: string | undefined;
  #isOpen = false;

  constructor(terminal: Terminal, isJson: boolean, text: RangeText<Range>) {
    this.#terminal = terminal;
    this.#isJson = isJson;
    this.#text = text;
  }

  async range(range: Range, sides: DiffSides | undefined): Promise<void> {
    if (sides === undefined) return;
    if (this.#isJson) {
      this.#open(sides);
      if (this.#last !== undefined) this.#lines.push(`${this.#last},`);
      this.#last = `    ${toJsonLine(this.#text.json(range, sides.hasBacking))}`;
    } else {
      this.#lines.push(this.#text.line(range));
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
