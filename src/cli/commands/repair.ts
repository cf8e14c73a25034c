import type { Command } from "commander";
import { type RepairReport, repairWithoutJournal } from "../../index.ts";
import { journalBeside, namedJournal } from "../journal-dir.ts";
import { toJson } from "../json.ts";
import { misuse } from "../misuse.ts";
import { type WriteOptions, poolOptionsOf, recordOf, withWriteOptions } from "../options.ts";
import { openTerminal } from "../terminal.ts";
import { repairedLine } from "../views/repair.ts";

interface RepairOptions extends WriteOptions {
  /** False when `--without-journal` is given: commander's reading of the name. */
  readonly withoutJournal?: boolean;
}

export function addRepairCommand(program: Command): void {
  withWriteOptions(program.command("repair"))
    .description("repair an interrupted image whose journal is lost, by a scan")
    .argument("<image...>", "fenced qcow2 images; each is repaired by itself")
    .option(
      "--without-journal",
      "required: say that the journal is lost, or too old or damaged to recover with",
    )
    .addHelpText(
      "after",
      `
'qcowal recover' is the way back as long as there is a journal: it finishes what
was decided, undoes what was not, and keeps the images of one transaction
together. This command only looks at the image. All of its tables are read,
refcounts that are too high are lowered, COPIED flags are corrected, clusters
that nothing refers to are given back, and the fence is removed last. The image
is then wholly as before the interrupted operation or wholly as after it,
whichever its header shows. Leaks from before the operation go too.

It refuses, and changes nothing, when the image is not fenced, when a journal
that is there can recover it, and when the image shows damage that no
interrupted operation leaves. It may be killed at any moment and run again.

A journal that is there takes a note for 'qcowal history'; none is made.

Examples:
  $ qcowal repair --without-journal web.qcow2 --dry-run
  $ qcowal repair --without-journal web.qcow2 --reason "journal disk died"`,
    )
    .action(repair);
}

async function repair(images: readonly string[], options: RepairOptions): Promise<void> {
  if (options.withoutJournal !== true) {
    throw misuse(
      "repair works only with --without-journal: it says that the journal is lost. As long as it is there, 'qcowal recover' is the command",
    );
  }
  const terminal = openTerminal(options.quiet === true);
  const reports: RepairReport[] = [];
  try {
    for (const image of images) {
      terminal.status(`scanning ${image} ...`);
      const report = await repairWithoutJournal(image, {
        ...recordOf(options),
        ...poolOptionsOf(options),
        dryRun: options.dryRun === true,
        journal: namedJournal(options.journal) ?? (await journalBeside(image)),
      });
      reports.push(report);
      if (options.json !== true) terminal.say(repairedLine(report, options.dryRun === true));
    }
  } finally {
    terminal.status("");
    // Also when one is refused: those before it are repaired, and a program has to know.
    if (options.json === true && reports.length > 0) terminal.data(toJson(reports));
  }
  if (options.dryRun === true) terminal.say("Nothing was changed: this was a dry run.");
}
