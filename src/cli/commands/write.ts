import type { Command } from "commander";
import {
  type DryRunReport,
  type Operation,
  type ProgressEvent,
  type RunReport,
  openPool,
  planOperations,
} from "../../index.ts";
import { journalExists } from "../../../journal/index.ts";
import { planFirst, runFirst } from "../../pool/index.ts";
import { type ConfirmOptions, confirmed } from "../confirm.ts";
import { collectGarbage } from "../collect-garbage.ts";
import { interruptible } from "../interruption.ts";
import { journalOfFirst } from "../journal-dir.ts";
import { toJson } from "../json.ts";
import { type WriteOptions, poolOptionsOf, recordOf, withWriteOptions } from "../options.ts";
import { type Terminal, openTerminal } from "../terminal.ts";
import { IMAGES, examples } from "./words.ts";
import { doneLines, planJson, planText, recoveredLine } from "../views/operations.ts";
import { STEP_WORDS } from "../views/steps.ts";

export function addWriteCommands(program: Command): void {
  withWriteOptions(program.command("create"))
    .description("take a snapshot of the disk as it is now")
    .argument("<name>", "name of the new snapshot, at most 255 bytes")
    .argument(...IMAGES)
    .option("-f, --force", "allow an empty name, or one that the image has already")
    .option("--auto", "mark it as taken by a schedule: 'qcowal prune' removes only such ones by itself")
    .addHelpText(
      "after",
      examples(
        "create before-upgrade web.qcow2 --reason 'kernel 6.18'",
        "create nightly system.qcow2 data.qcow2",
      ),
    )
    .action(async (name: string, images: string[], options: WriteOptions) => {
      await write(
        images.map((image) => ({
          type: "create",
          image,
          name,
          force: options.force ?? false,
          ...(options.auto === true ? { auto: true } : {}),
        })),
        images,
        options,
      );
    });
}

export async function write(
  operations: readonly Operation[],
  images: readonly string[],
  options: WriteOptions & ConfirmOptions,
): Promise<RunReport | DryRunReport> {
  const terminal = openTerminal(options.quiet === true);
  const journal = await journalOfFirst(images, options.journal);
  if (options.dryRun === true) {
    const report = await planOperations(operations, { journal });
    terminal.data(options.json === true ? toJson(planJson(report)) : planText(report));
    terminal.say("Nothing was changed: this was a dry run.");
    return report;
  }
  const report = await runOperations(
    terminal,
    await confirmed(terminal, operations, journal, options),
    journal,
    options,
  );
  if (options.json === true) terminal.data(toJson(report));
  else for (const line of doneLines(report)) terminal.say(line);
  return report;
}

/** Runs one transaction as a person at a terminal wants to see it. */
export async function runOperations(
  terminal: Terminal,
  operations: readonly Operation[],
  journal: string,
  options: Pick<WriteOptions, "actor" | "reason" | "wait">,
): Promise<RunReport> {
  const onProgress = ({ step, recovered }: ProgressEvent): void => {
    if (recovered !== undefined) terminal.say(recoveredLine(recovered));
    terminal.status(`${STEP_WORDS[step]} ...`);
  };
  const record = { ...recordOf(options), onProgress };
  const run = async (): Promise<RunReport> => {
    if (!(await journalExists(journal))) {
      // What is refused leaves no new journal, with nothing in it, beside the image.
      terminal.status(`${STEP_WORDS.plan} ...`);
      const done = await interruptible(async (signal) => {
        const first = await planFirst(operations, { signal });
        return runFirst(first, journal, poolOptionsOf(options), { ...record, signal });
      });
      if (done !== undefined) return done;
      await collectGarbage();
    }
    terminal.status("waiting for the journal ...");
    await using pool = await openPool(journal, poolOptionsOf(options));
    return await interruptible((signal) => pool.run(operations, { ...record, signal }));
  };
  try {
    return await run();
  } finally {
    terminal.status("");
  }
}
