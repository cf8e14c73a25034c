import { type Command, Option } from "commander";
import {
  type ImageReceiveReport,
  type ReceiveOptions,
  type ReceivePhase,
  type ReceiveReport,
  type TargetFormat,
  openPool,
  planReceive,
  receiveStream,
  targetFormat,
} from "../../index.ts";
import { interruptible } from "../interruption.ts";
import { journalFor } from "../journal-dir.ts";
import { toJson } from "../json.ts";
import { misuse } from "../misuse.ts";
import { type CommonOptions, poolOptionsOf, recordOf, withWriteOptions } from "../options.ts";
import { openTerminal } from "../terminal.ts";
import { receivePlanText } from "../views/receive-plan.ts";
import { sentState } from "../views/receive.ts";
import { bytes, plural, printable, quoted } from "../views/text.ts";

interface ReceiveCommandOptions extends CommonOptions {
  readonly format?: TargetFormat;
  /** True without the option, false with --no-snapshot. */
  readonly snapshot: string | boolean;
  readonly actor?: string;
  readonly reason?: string;
  readonly dryRun?: boolean;
}

export function addReceiveCommand(program: Command): void {
  withWriteOptions(program.command("receive"))
    .description("apply a stream of changes to a copy of a disk, raw or qcow2")
    .argument("<target>", "the copy; a full stream makes it, an incremental one changes it")
    .argument("<stream>", "file; - is standard input")
    .addOption(
      new Option(
        "--format <format>",
        "what the copy is (default: what its first bytes say; of a new one its name, qcow2 for *.qcow2)",
      ).choices(["raw", "qcow2"]),
    )
    .option(
      "--snapshot <name>",
      "name of the snapshot that a qcow2 copy takes (default: that which was sent)",
    )
    .option("--no-snapshot", "take none")
    .addHelpText(
      "after",
      `
All of the stream is verified before the target is touched, and refused if a bit of
it is not as it was made. An incremental stream is applied to what it was made for:
the whole content is compared before, and again after. What cannot be read twice is
kept beside the target meanwhile.

A qcow2 copy is changed by one transaction, with the snapshot that it takes: after
a crash it stands where it stood or where the stream leads, and what it will hold
is compared before that is decided. Its own snapshots stay as they are.

A raw copy is changed in place. Killed or called off, it is run again with the same
stream, and goes on. Until then .TARGET.qcowal-receive beside the target says that
it is between two states, and every other stream is refused.

With --dry-run the stream is verified, and the copy has to stand where the stream
begins, as for the real one; of a qcow2 copy the transaction is planned as well. It
needs no journal, and leaves nothing. What the copy will hold is compared by the
real one, when that is there.

An answer of 1, 130 or 143 means that nothing was changed, unless the message says
that. Whatever happened, the same command again is right.

Examples:
  $ qcowal receive web.qcow2 monday.full
  $ qcowal receive web.qcow2 monday-tuesday.stream
  $ qcowal receive web.qcow2 monday-tuesday.stream --dry-run
  $ qcowal receive web.raw monday.full
  $ ssh host cat tuesday-wednesday.stream | qcowal receive web.raw -`,
    )
    .action(receive);
}

const DOING: Readonly<Record<ReceivePhase, string>> = {
  verify: "verifying the stream",
  compare: "comparing the target",
  apply: "applying",
  check: "checking the target",
};

const STATUS_EVERY_MS = 100;

async function receive(target: string, stream: string, options: ReceiveCommandOptions): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  let next = 0;
  try {
    const report = await interruptible((signal) =>
      received(target, stream, options, {
        signal,
        name: stream === "-" ? "Standard input" : printable(stream),
        dryRun: options.dryRun === true,
        onProgress: (phase, done, total) => {
          const now = performance.now();
          if (now < next) return;
          next = now + STATUS_EVERY_MS;
          terminal.status(
            `${options.dryRun === true && phase === "apply" ? "planning" : DOING[phase]} ... ${bytes(done)}${total === undefined ? "" : ` of ${bytes(total)}`}`,
          );
        },
      }),
    );
    if (options.json === true) terminal.data(toJson(report));
    else if (report.dryRun) terminal.data(receivePlanText(target, report));
    else terminal.say(receivedLine(target, report));
    if (report.dryRun) terminal.say("Nothing was changed: this was a dry run.");
  } finally {
    terminal.status("");
  }
}

type Report = ReceiveReport | ImageReceiveReport;

async function received(
  target: string,
  stream: string,
  options: ReceiveCommandOptions,
  how: ReceiveOptions,
): Promise<Report> {
  const source = stream === "-" ? process.stdin : stream;
  const { format = await targetFormat(target), snapshot } = options;
  if (format === "raw") {
    if (typeof snapshot === "string") throw misuse(`${target} is raw: it has no snapshots (--format qcow2?)`);
    return receiveStream(target, source, how);
  }
  const name = snapshot === true ? {} : { snapshot };
  if (options.dryRun === true) return planReceive(target, source, { ...how, ...name });
  await using pool = await openPool(await journalFor([target], options.journal), poolOptionsOf(options));
  return await pool.receive(target, source, { ...how, ...recordOf(options), ...name });
}

function receivedLine(target: string, report: Report): string {
  const { result, to, data, zero, records } = report;
  const state = sentState(to);
  const where = printable(target);
  if (result === "unchanged") return `${where} stands at ${state} already. Nothing was changed.`;
  const went = result === "resumed" ? ", which had been interrupted before" : "";
  const kept = "kept" in report && report.kept !== null ? `, kept as snapshot ${quoted(report.kept)}` : "";
  const facts =
    "transaction" in report && report.transaction !== null ? ` [transaction ${report.transaction}]` : "";
  return `${where} stands at ${state}: ${bytes(data + zero)} in ${plural(records, "record")} ${result === "created" ? "written" : "changed"}${went}${kept}${facts}.`;
}
