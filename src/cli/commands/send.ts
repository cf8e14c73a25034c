import type { Command } from "commander";
import { type OpenState, sendSnapshot } from "../../index.ts";
import { parseImageAt } from "../image-at.ts";
import { interruptible } from "../interruption.ts";
import { misuse } from "../misuse.ts";
import { progressMeter } from "../progress-meter.ts";
import { refOf } from "../selector.ts";
import { openTerminal } from "../terminal.ts";
import { bytes, printable } from "../views/text.ts";
import { writeOutput } from "../write-output.ts";

interface SendCommandOptions {
  readonly from?: string;
  readonly output: string;
  readonly quiet?: boolean;
  readonly forceShare?: boolean;
}

export function addSendCommand(program: Command, openState: OpenState): void {
  program
    .command("send")
    .description("write a snapshot, or what changed since another one, as a stream for 'qcowal receive'")
    .argument("<image[@snapshot]>", "qcow2 image, and which of its snapshots; default: the disk as it is")
    .option("--from <snapshot>", "what the receiver has, by its name or id:N; default: nothing")
    .option("-o, --output <file>", "where to write; - is standard output", "-")
    .option("-U, --force-share", "send a snapshot of an image that a running VM holds")
    .option("-q, --quiet", "print nothing but data and errors")
    .addHelpText(
      "after",
      `
A stream says what it has to be applied to and what it makes of that, with digests
of both and of each of its parts. All of FROM is read for them, and of the other
state what is mapped differently; what holds the same bytes is not sent. It is not
compressed: pipe it through zstd. A file is replaced when all of it is written.

Examples:
  $ qcowal send web.qcow2@monday -o monday.full
  $ qcowal send web.qcow2@tuesday --from monday -o tuesday.stream
  $ qcowal send web.qcow2@tuesday --from monday | ssh host qcowal receive web.raw -`,
    )
    .action((words: string, options: SendCommandOptions) => send(words, options, openState));
}

async function send(words: string, options: SendCommandOptions, openState: OpenState): Promise<void> {
  if (options.output === "-" && process.stdout.isTTY) {
    throw misuse("A stream is not for a terminal: use -o FILE, or a pipe");
  }
  const { image, snapshot: to } = parseImageAt(words);
  if (options.forceShare === true && to === undefined) {
    throw misuse("Beside a running VM only a snapshot can be sent: name one behind the image (IMAGE@NAME)");
  }
  const terminal = openTerminal(options.quiet === true);
  let sent = 0;
  try {
    await interruptible(async (signal) => {
      const frames = sendSnapshot(image, openState, {
        ...(options.from === undefined ? {} : { from: refOf(options.from) }),
        ...(to === undefined ? {} : { to }),
        forceShare: options.forceShare === true,
        signal,
        onProgress: progressMeter(terminal, `sending ${printable(image)}`),
      });
      const counted = (async function* () {
        for await (const frame of frames) {
          sent += frame.length;
          yield frame;
        }
      })();
      await writeOutput(options.output, counted, "The stream is not complete; the image was not changed.");
    });
  } finally {
    terminal.status("");
  }
  terminal.say(
    `sent ${printable(words)}${options.from === undefined ? "" : ` since ${printable(options.from)}`}: ${bytes(sent)}`,
  );
}
