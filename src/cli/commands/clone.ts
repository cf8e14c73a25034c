import type { Command } from "commander";
import { cloneImage } from "../../index.ts";
import { parseImageAt } from "../image-at.ts";
import { interruptible } from "../interruption.ts";
import { toJson } from "../json.ts";
import { progressMeter } from "../progress-meter.ts";
import { openTerminal } from "../terminal.ts";
import { printable, quoted } from "../views/text.ts";

interface CloneCommandOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export function addCloneCommand(program: Command): void {
  program
    .command("clone")
    .description("make an image of its own of an image, or of one of its snapshots")
    .argument("<image[@snapshot]>", "qcow2 image, and which of its snapshots; default: the disk as it is")
    .argument("<new>", "qcow2 file to make")
    .option("--json", "print JSON")
    .option("-q, --quiet", "print nothing but data and errors")
    .addHelpText(
      "after",
      `
Of a snapshot, the disk of the new image is as it was then, and that snapshot is the
only one it has. Where the file system can share blocks between files (Btrfs, XFS),
the copy takes no space. The image is locked as a reader does and not changed; the
new one has its name when all of it is there.

Examples:
  $ qcowal clone web.qcow2@before-upgrade web-old.qcow2
  $ qcowal clone web.qcow2 web-test.qcow2`,
    )
    .action(clone);
}

async function clone(words: string, target: string, options: CloneCommandOptions): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  const { image, snapshot } = parseImageAt(words);
  try {
    const report = await interruptible((signal) =>
      cloneImage(image, target, {
        ...(snapshot === undefined ? {} : { snapshot }),
        signal,
        onProgress: progressMeter(terminal, `copying ${printable(image)}`),
      }),
    );
    if (options.json === true) terminal.data(toJson(report));
    else {
      const state = report.snapshot === null ? "as it is" : `at ${quoted(report.snapshot.name)}`;
      terminal.say(
        `${printable(target)}: ${printable(image)} ${state}${report.shared ? ", sharing its blocks" : ""}`,
      );
    }
  } finally {
    terminal.status("");
  }
}
