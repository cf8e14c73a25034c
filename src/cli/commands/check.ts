import { type Command, Option } from "commander";
import { type CheckReport, QcowalError, checkImage } from "../../index.ts";
import { CHECK_EXIT_HELP, checkExitOf } from "../check-exit.ts";
import { interruptible } from "../interruption.ts";
import { toJson } from "../json.ts";
import { misuse } from "../misuse.ts";
import { journalOption } from "../options.ts";
import { type Terminal, openTerminal } from "../terminal.ts";
import {
  checkJson,
  findingLine,
  interruptedLine,
  leftOutLine,
  qemuSummary,
  usageTable,
} from "../views/check.ts";
import { printable } from "../views/text.ts";

interface CheckOptions {
  readonly format?: string;
  readonly output?: "human" | "json";
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly forceShare?: boolean;
  readonly usage?: boolean;
  readonly cache?: string;
  readonly object?: string;
  readonly imageOpts?: boolean;
}

/** `qemu-img check`, with its options, its JSON and its exit codes, and more to say of each finding. */
export function addCheckCommand(program: Command, answer: (exitCode: number) => void): void {
  program
    .command("check")
    .description("check all metadata; drop-in for 'qemu-img check', and says whose a finding is")
    .usage("[-f qcow2] [--output human|json] [-q] [-U] [-T CACHE] [--usage] IMAGE")
    .argument("[image...]", "qcow2 image")
    .option("-f, --format <format>", "format of the image: only qcow2 can be checked")
    .addOption(new Option("--output <form>", "how to print").choices(["human", "json"]).default("human"))
    .option("--json", "the same as --output json")
    .option("-q, --quiet", "print nothing but errors of the command itself")
    .option(
      "-U, --force-share",
      "take no locks, beside a running VM; its half-written tables may look damaged",
    )
    .option("--usage", "say also what each snapshot occupies, and what deleting it would free")
    .option("-T, --cache <mode>", "accepted for compatibility: what is read does not depend on it")
    .addOption(journalOption())
    .addOption(new Option("--object <definition>").hideHelp())
    .addOption(new Option("--image-opts").hideHelp())
    .addHelpText(
      "after",
      `
Counts every reference and compares it with the refcounts and COPIED flags that
are stored; checks the form of header, tables, bitmaps and encryption header.
Nothing is written. The numbers are those of qemu-img, but for clusters that
belong to several structures with a refcount to match, which it does not see.
The JSON has the fields of qemu-img, and 'findings': at most a thousand, with
'findings-left-out' behind them. An image that an interrupted operation holds,
which qemu does not open, is checked as it is; 'interrupted' names the journal.

${CHECK_EXIT_HELP}

Examples:
  $ qcowal check web.qcow2
  $ qcowal check --usage web.qcow2
  $ qcowal check --output=json web.qcow2 | jq '.findings[] | select(.kind == "corruption")'
  $ qcowal check -U web.qcow2     # while a VM runs on it`,
    )
    .action(async (images: string[], options: CheckOptions) => answer(await check(images, options)));
}

async function check(images: readonly string[], options: CheckOptions): Promise<number> {
  const [image, ...others] = images;
  if (image === undefined || others.length > 0) throw misuse("Expecting one image file name");
  if (options.object !== undefined || options.imageOpts === true) {
    throw misuse("--object and --image-opts are not supported: name a qcow2 file");
  }
  if (options.format !== undefined && options.format !== "qcow2") {
    throw new QcowalError("IMAGE_NOT_QCOW2", `The format ${printable(options.format)} cannot be checked.`);
  }
  const terminal = openTerminal(options.quiet === true);
  const report = await scan(terminal, image, options);
  // A repair (-r) belongs here: it acts on what was found, and what is left is printed.
  if (options.json === true || options.output === "json") terminal.data(toJson(checkJson(image, report)));
  else print(terminal, report, options.quiet === true);
  return checkExitOf(report);
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
    terminal.status(
      `checking ${printable(image)} ... ${percent} % of ${total.toLocaleString("en-US")} tables`,
    );
  };
}

/** Findings are words, as with qemu-img; the summary is data, and both are silent with --quiet. */
function print(terminal: Terminal, report: CheckReport, isQuiet: boolean): void {
  for (const finding of report.findings) terminal.say(findingLine(finding));
  if (report.findingsLeftOut > 0) terminal.say(leftOutLine(report));
  if (report.interrupted) terminal.say(interruptedLine(report));
  if (isQuiet) return;
  terminal.data(qemuSummary(report));
  if (report.usage !== undefined) terminal.data(`\n${usageTable(report.usage)}`);
}
