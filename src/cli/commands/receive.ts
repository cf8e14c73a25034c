import type { Command } from "commander";
import { type ReceivePhase, type ReceiveReport, receiveStream } from "../../index.ts";
import { interruptible } from "../interruption.ts";
import { toJson } from "../json.ts";
import { openTerminal } from "../terminal.ts";
import { bytes, plural, printable, quoted } from "../views/text.ts";

interface ReceiveCommandOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export function addReceiveCommand(program: Command): void {
  program
    .command("receive")
    .description("apply a stream of changes to a raw copy of a disk")
    .argument("<target>", "raw file; a full stream makes it, an incremental one changes it")
    .argument("<stream>", "file; - is standard input")
    .option("--json", "print JSON")
    .option("-q, --quiet", "print nothing but data and errors")
    .addHelpText(
      "after",
      `
All of the stream is verified before the target is touched, and refused if a bit of
it is not as it was made. An incremental stream is applied to what it was made for:
the whole content is compared before, and again after. What cannot be read twice is
kept beside the target meanwhile.

Killed or called off, it is run again with the same stream, and goes on. Until
then .TARGET.qcowal-receive beside the target says that it is between two states,
and every other stream is refused. An answer of 1, 130 or 143 means that nothing
was changed, unless the message says that.

Examples:
  $ qcowal receive web.raw monday.full
  $ qcowal receive web.raw monday-tuesday.stream
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
      receiveStream(target, stream === "-" ? process.stdin : stream, {
        signal,
        name: stream === "-" ? "Standard input" : printable(stream),
        onProgress: (phase, done, total) => {
          const now = performance.now();
          if (now < next) return;
          next = now + STATUS_EVERY_MS;
          terminal.status(
            `${DOING[phase]} ... ${bytes(done)}${total === undefined ? "" : ` of ${bytes(total)}`}`,
          );
        },
      }),
    );
    if (options.json === true) terminal.data(toJson(report));
    else terminal.say(receivedLine(target, report));
  } finally {
    terminal.status("");
  }
}

function receivedLine(target: string, { result, to, data, zero, records }: ReceiveReport): string {
  const state = to.snapshot === null ? "the disk as it was sent" : quoted(to.snapshot.name);
  const where = printable(target);
  if (result === "unchanged") return `${where} stands at ${state} already. Nothing was changed.`;
  const went = result === "resumed" ? ", which had been interrupted before" : "";
  return `${where} stands at ${state}: ${bytes(data + zero)} in ${plural(records, "record")} ${result === "created" ? "written" : "changed"}${went}.`;
}
