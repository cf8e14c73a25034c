import { type Command, Option } from "commander";
import { type CheckReport, QcowalError, checkImage, isQcowalError } from "../../index.ts";
import { CHECK_EXIT_HELP, checkExitOf } from "../check-exit.ts";
import { interruptible } from "../interruption.ts";
import { jsonLines } from "../json.ts";
import { misuse } from "../misuse.ts";
import { journalOption, waitOption, withRecordOptions } from "../options.ts";
import { type Terminal, openTerminal } from "../terminal.ts";
import {
  type CheckRepair,
  checkJson,
  findingLine,
  interruptedLine,
  leftOutLine,
  qemuFixed,
  qemuSummary,
  repairLines,
  usageTable,
} from "../views/check.ts";
import { grouped, printable } from "../views/text.ts";
import type { repairChecked } from "./check-repair.ts";

interface CheckOptions {
  readonly format?: string;
  readonly output?: "human" | "json";
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly forceShare?: boolean;
  readonly repair?: "leaks" | "all";
  readonly journal?: string;
  readonly actor?: string;
  readonly reason?: string;
  readonly wait?: number;
  readonly usage?: boolean;
  readonly cache?: string;
  readonly object?: string;
  readonly imageOpts?: boolean;
}

/** What `-r` does. */
export type Repair = typeof repairChecked;

/**
 * `qemu-img check`, with its options, its JSON and its exit codes, and more to say
 * of each finding. Without `repair` it is for command lines without `-r`.
 */
export function addCheckCommand(
  program: Command,
  answer: (exitCode: number) => void,
  repair: Repair | undefined,
): void {
  const command = program
    .command("check")
    .description("check all metadata; drop-in for 'qemu-img check', and says whose a finding is")
    .usage("[-f qcow2] [--output human|json] [-q] [-r leaks|all] [-U] [-T CACHE] [--usage] IMAGE")
    .argument("[image...]", "qcow2 image")
    .option("-f, --format <format>", "format of the image: only qcow2 can be checked")
    .addOption(new Option("--output <form>", "how to print").choices(["human", "json"]).default("human"))
    .option("--json", "the same as --output json")
    .option("-q, --quiet", "print nothing but errors of the command itself")
    .addOption(
      new Option(
        "-r, --repair <what>",
        "repair what is found, journaled as 'qcowal repair' does, and check again",
      ).choices(["leaks", "all"]),
    )
    .option(
      "-U, --force-share",
      "take no locks, beside a running VM; its half-written tables may look damaged",
    )
    .option("--usage", "say also what each snapshot occupies, and what deleting it would free")
    .option("-T, --cache <mode>", "accepted for compatibility: what is read does not depend on it")
    .addOption(journalOption())
    .addOption(waitOption().default(undefined))
    .addOption(new Option("--object <definition>").hideHelp())
    .addOption(new Option("--image-opts").hideHelp());
  withRecordOptions(command)
    .addHelpText(
      "after",
      `
Counts every reference and compares it with the refcounts and COPIED flags that
are stored; checks the form of header, tables, bitmaps and encryption header.
Without -r nothing is written, and no journal is needed. The numbers are those
of qemu-img, but for clusters that belong to several structures with a refcount
to match, which it does not see. The JSON has the fields of qemu-img, and
'findings': at most a thousand, with 'findings-left-out' behind them. An image
that an interrupted operation holds, which qemu does not open, is checked as it
is; 'interrupted' names the journal.

With -r the answer is that of a second check, behind the repair. Unlike
qemu-img it never frees what a snapshot that cannot be read may own, nor gives
up snapshots: 'qcowal repair --drop-damaged-snapshots' does. The JSON says in
'repaired' what was mended and what was left, or in 'not-repaired' why nothing
was changed.

${CHECK_EXIT_HELP}

Examples:
  $ qcowal check web.qcow2
  $ qcowal check -r all web.qcow2 --reason "host lost power"
  $ qcowal check --usage web.qcow2
  $ qcowal check --output=json web.qcow2 | jq '.findings[] | select(.kind == "corruption")'
  $ qcowal check -U web.qcow2     # while a VM runs on it`,
    )
    .action(async (images: string[], options: CheckOptions) => answer(await check(images, options, repair)));
}

async function check(
  images: readonly string[],
  options: CheckOptions,
  repair: Repair | undefined,
): Promise<number> {
  const [image, ...others] = images;
  if (image === undefined || others.length > 0) throw misuse("Expecting one image file name");
  if (options.object !== undefined || options.imageOpts === true) {
    throw misuse("--object and --image-opts are not supported: name a qcow2 file");
  }
  if (options.format !== undefined && options.format !== "qcow2") {
    throw new QcowalError("IMAGE_NOT_QCOW2", `The format ${printable(options.format)} cannot be checked.`);
  }
  if (options.repair !== undefined && options.forceShare === true) {
    throw misuse("--force-share can only be used to read: it does not go with -r");
  }
  if (options.repair === undefined && (options.actor ?? options.reason ?? options.wait) !== undefined) {
    throw misuse("--actor, --reason and --wait are for the record of a repair (-r)");
  }
  const output = new Output(image, options);
  let report: CheckReport;
  if (options.repair === undefined) report = await scan(output.terminal, image, options);
  else if (repair !== undefined) report = await repaired(output, image, options.repair, options, repair);
  else throw new Error("-r was taken for something else: nothing was read or changed");
  await output.report(report);
  return checkExitOf(report);
}

/** Repairs what a check finds; returns what is left. */
async function repaired(
  output: Output,
  image: string,
  what: "leaks" | "all",
  options: CheckOptions,
  repair: Repair,
): Promise<CheckReport> {
  const { terminal } = output;
  const before = await scanOrDamaged(terminal, image, options);
  const isSound = before?.findings.length === 0 && !before.interrupted;
  if (isSound) return before;
  if (before !== undefined) output.findings(before);
  const outcome = await repair(terminal, image, what, options);
  if ("refused" in outcome && before === undefined) throw outcome.refused;
  output.repair(outcome);
  return "refused" in outcome && before !== undefined ? before : scan(terminal, image, options);
}

/** Undefined for a header that leaves nothing to check: a repair may know what to do with it. */
async function scanOrDamaged(
  terminal: Terminal,
  image: string,
  options: CheckOptions,
): Promise<CheckReport | undefined> {
  try {
    return await scan(terminal, image, options);
  } catch (error) {
    if (isQcowalError(error, "IMAGE_INVALID")) return undefined;
    throw error;
  }
}

async function scan(terminal: Terminal, image: string, options: CheckOptions): Promise<CheckReport> {
  try {
    terminal.status(`checking ${printable(image)} ...`);
    return await interruptible((signal) =>
      checkImage(image, {
        forceShare: options.forceShare === true,
        usage: options.usage === true,
        signal,
        onProgress: progress(terminal, image),
      }),
    );
  } finally {
    terminal.status("");
  }
}

const STATUS_EVERY_MS = 100;

/** A line that does not cost more than the work that it tells of. */
function progress(terminal: Terminal, image: string): (done: number, total: number) => void {
  let next = 0;
  return (done, total) => {
    const now = performance.now();
    if (now < next) return;
    next = now + STATUS_EVERY_MS;
    const percent = Math.floor((done * 100) / total);
    terminal.status(`checking ${printable(image)} ... ${percent} % of ${grouped(total)} tables`);
  };
}

/** Findings are words, as with qemu-img; the summary is data, and both are silent with --quiet. */
class Output {
  readonly terminal: Terminal;
  readonly #image: string;
  readonly #isQuiet: boolean;
  readonly #isJson: boolean;
  #repair: CheckRepair | undefined;
  /** Said already: a repair that changed nothing leaves them as they are. */
  #said: readonly string[] = [];

  constructor(image: string, { quiet, json, output }: CheckOptions) {
    this.#image = image;
    this.#isQuiet = quiet === true;
    this.#isJson = json === true || output === "json";
    this.terminal = openTerminal(this.#isQuiet);
  }

  findings(report: CheckReport): void {
    if (this.#isJson) return;
    const lines = report.findings.map(findingLine);
    if (lines.join("\n") !== this.#said.join("\n")) for (const line of lines) this.terminal.say(line);
    if (report.findingsLeftOut > 0) this.terminal.say(leftOutLine(report));
    this.#said = lines;
  }

  repair(repair: CheckRepair): void {
    this.#repair = repair;
    if (this.#isJson) return;
    for (const line of repairLines(repair)) this.terminal.say(line);
    const fixed = qemuFixed(repair);
    if (fixed !== undefined && !this.#isQuiet) this.terminal.data(fixed);
  }

  async report(report: CheckReport): Promise<void> {
    if (this.#isJson) {
      await this.terminal.lines(jsonLines(checkJson(this.#image, report, this.#repair)));
      return;
    }
    this.findings(report);
    if (report.interrupted) this.terminal.say(interruptedLine(report));
    if (this.#isQuiet) return;
    this.terminal.data(qemuSummary(report));
    if (report.usage === undefined) return;
    this.terminal.data("");
    await this.terminal.lines(usageTable(report.usage));
  }
}
