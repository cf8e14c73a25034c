import type { Command } from "commander";
import { type RepairOperation, type RepairReport, repairWithoutJournal } from "../../index.ts";
import { EXIT } from "../exit-codes.ts";
import { journalBeside, namedJournal } from "../journal-dir.ts";
import { toJson } from "../json.ts";
import { misuse } from "../misuse.ts";
import { type WriteOptions, poolOptionsOf, recordOf, withWriteOptions } from "../options.ts";
import { openTerminal } from "../terminal.ts";
import { repairedLine } from "../views/repair.ts";
import { write } from "./write.ts";

interface RepairOptions extends WriteOptions {
  /** False when `--without-journal` is given: commander's reading of the name. */
  readonly withoutJournal?: boolean;
  readonly leaks?: boolean;
  readonly harden?: boolean;
  readonly dropDamagedSnapshots?: boolean;
}

export function addRepairCommand(program: Command, answer: (exitCode: number) => void): void {
  withWriteOptions(program.command("repair"))
    .description("mend leaks, refcounts, COPIED flags and marks of damage; content stays as it is")
    .argument("<image...>", "qcow2 images; several are repaired together or not at all")
    .option("--leaks", "only give back what nothing uses, and leave all other damage as it is")
    .option(
      "--harden",
      "also clear stale COPIED flags in the L1 tables of snapshots: a crash in qemu's own revert to them then corrupts nothing",
    )
    .option(
      "--drop-damaged-snapshots",
      "give up snapshots that cannot be read, and extra data that QEMU refuses",
    )
    .option("--even-if-held", "with that, also those that somebody holds (a refusal without it)")
    .option(
      "--without-journal",
      "for an interrupted image whose journal is lost, or too old or damaged to recover with",
    )
    .addHelpText(
      "after",
      `
Reads all tables, counts what refers to each cluster, and makes the refcounts,
the COPIED flags, the snapshot table and the dirty and corrupt bits fit: what an
interrupted qemu-img or a killed VM left. Disk and snapshots keep their content.
Like every operation it is written to the journal first, and 'qcowal history
--json' shows what it mended. It refuses, and changes nothing, where the tables
of the disk contradict themselves. What a snapshot may own that cannot be read,
or contradicts itself or the disk, is left as it is, and the snapshot too, until
--drop-damaged-snapshots gives it up; what is left is named, and the exit code
is 3. A snapshot table that is not where the header says is looked for.

An image that an interrupted operation of qcowal holds is for 'qcowal recover',
as long as there is a journal: that finishes what was decided, undoes what was
not, and keeps the images of one transaction together. When the journal is lost,
--without-journal takes the image as its header shows it, wholly as before or
wholly as after, mends what that leaves and removes the fence. Images are then
repaired one by one; a journal that is there takes a note, none is made. It
refuses while a journal can recover the image, and on damage that no
interrupted operation leaves.

It may be killed at any moment and run again.

Examples:
  $ qcowal repair web.qcow2 --dry-run
  $ qcowal repair web.qcow2 --harden --reason "host lost power"
  $ qcowal repair --without-journal web.qcow2 --reason "journal disk died"`,
    )
    .action(async (images: string[], options: RepairOptions) => answer(await repair(images, options)));
}

async function repair(images: readonly string[], options: RepairOptions): Promise<number> {
  const { leaks, harden, dropDamagedSnapshots, evenIfHeld } = options;
  if (options.withoutJournal === true) {
    if (leaks ?? harden ?? dropDamagedSnapshots) {
      throw misuse("--without-journal goes with none of --leaks, --harden and --drop-damaged-snapshots");
    }
    await repairByScan(images, options);
    return EXIT.done;
  }
  if (leaks === true && dropDamagedSnapshots === true) {
    throw misuse("--drop-damaged-snapshots does not go with --leaks, which leaves everything else alone");
  }
  if (evenIfHeld === true && dropDamagedSnapshots !== true) {
    throw misuse("--even-if-held goes with --drop-damaged-snapshots");
  }
  const operation = (image: string): RepairOperation => ({
    type: "repair",
    image,
    what: leaks === true ? "leaks" : "all",
    ...(harden === undefined ? {} : { harden }),
    ...(dropDamagedSnapshots === undefined ? {} : { dropDamagedSnapshots }),
    ...(evenIfHeld === undefined ? {} : { evenIfHeld }),
  });
  const report = await write(images.map(operation), images, options);
  const outcomes = report.images.flatMap((image) => image.outcomes);
  const isLeft = outcomes.some((outcome) => outcome.type === "repair" && outcome.left.length > 0);
  return isLeft ? EXIT.damageLeft : EXIT.done;
}

async function repairByScan(images: readonly string[], options: RepairOptions): Promise<void> {
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
