import type { Command } from "commander";
import { journalExists } from "../../../journal/index.ts";
import { type HoldReport, type HoldVerb, openPool, planHold } from "../../index.ts";
import { journalFor } from "../journal-dir.ts";
import { toJson } from "../json.ts";
import { type WriteOptions, poolOptionsOf, recordOf, withWriteOptions } from "../options.ts";
import { parseSelector } from "../selector.ts";
import { openTerminal } from "../terminal.ts";
import { holdLines } from "../views/holds.ts";
import { SELECTING, examples } from "./words.ts";

interface HoldCommandOptions extends WriteOptions {
  readonly tag?: string;
}

export function addHoldCommands(program: Command): void {
  for (const [verb, description, shown] of [
    [
      "hold",
      "keep a snapshot from being deleted, pruned and given up, until it is released",
      [
        "hold before-upgrade web.qcow2 --tag audit --reason 'until May'",
        "hold golden system.qcow2 data.qcow2",
      ],
    ],
    ["release", "let a held snapshot go", ["release before-upgrade web.qcow2 --tag audit"]],
  ] as const) {
    withWriteOptions(program.command(verb))
      .description(description)
      .argument(...SELECTING)
      .argument("<image...>", "qcow2 images; all are looked at before the first is recorded")
      .option("--tag <tag>", "several may hold a snapshot, each under a tag of its own (default: hold)")
      .addHelpText("after", examples(...shown))
      .action((snapshot: string, images: string[], options: HoldCommandOptions) =>
        note(verb, snapshot, images, options),
      );
  }
}

async function note(
  verb: HoldVerb,
  snapshot: string,
  images: readonly string[],
  options: HoldCommandOptions,
): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  const report = await reportOf(verb, snapshot, images, options);
  if (options.json === true) terminal.data(toJson(report));
  else for (const line of holdLines(verb, report)) terminal.say(line);
  if (report.dryRun) terminal.say("Nothing was changed: this was a dry run.");
}

async function reportOf(
  verb: HoldVerb,
  snapshot: string,
  images: readonly string[],
  options: HoldCommandOptions,
): Promise<HoldReport> {
  const selector = parseSelector(snapshot);
  const ref = "id" in selector ? selector : selector.name;
  const journal = await journalFor(images, options.journal);
  const how = { ...recordOf(options), ...(options.tag === undefined ? {} : { tag: options.tag }) };
  // What is refused leaves no new journal beside the image.
  if (options.dryRun === true || !(await journalExists(journal))) {
    const plan = await planHold(journal, verb, images, ref, how);
    if (options.dryRun === true) return plan;
  }
  await using pool = await openPool(journal, poolOptionsOf(options));
  return await pool[verb](images, ref, how);
}
