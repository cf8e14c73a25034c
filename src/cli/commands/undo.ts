import { type Command, InvalidArgumentError } from "commander";
import { type Operation, type UndoReport, openPool } from "../../index.ts";
import { assertConfirmed } from "../confirm.ts";
import { interruptible } from "../interruption.ts";
import { journalFor } from "../journal-dir.ts";
import { toJson } from "../json.ts";
import {
  type WriteOptions,
  poolOptionsOf,
  recordOf,
  withConfirmation,
  withWriteOptions,
} from "../options.ts";
import { plannedAfter, recoveredIn } from "../recover-first.ts";
import { openTerminal } from "../terminal.ts";
import { doneLines, planJson, planText } from "../views/operations.ts";
import { holdLines } from "../views/holds.ts";
import { examples } from "./words.ts";

type UndoOptions = WriteOptions & { readonly keep?: string };

function numberOf(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError("Give the number of a transaction.");
  return Number(text);
}

export function addUndoCommand(program: Command): void {
  withConfirmation(withWriteOptions(program.command("undo")))
    .description("undo the last operation on an image, or the transaction that is named, on all its images")
    .argument("<image>", "qcow2 image")
    .argument("[transaction]", "number in the history (default: the last that is not undone)", numberOf)
    .option("--keep <name>", "where a revert is undone: take a snapshot of the disk as it is before")
    .addHelpText(
      "after",
      `
A create is deleted again; a rename, and a delete with --recoverable, get the old
name back; a revert with --keep goes back to what was kept; a hold is released,
and what was released is held again. The history shows which transaction was undone. What cannot be undone is refused, with the reason.

${examples("undo web.qcow2", "undo web.qcow2 42 --dry-run").trimStart()}`,
    )
    .action(undo);
}

async function undo(image: string, transaction: number | undefined, options: UndoOptions): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  const journal = await journalFor([image], options.journal);
  await using pool = await openPool(journal, { ...poolOptionsOf(options), create: false });
  const wanted = {
    ...recordOf(options),
    ...(transaction === undefined ? {} : { transaction }),
    ...(options.keep === undefined ? {} : { keep: options.keep }),
  };
  const plan = await plannedAfter(
    async () => options.dryRun !== true && (await recoveredIn(pool, terminal, [image], options)),
    () => interruptible((signal) => pool.undo(image, { ...wanted, signal, dryRun: true })),
  );
  if (options.dryRun === true) {
    terminal.data(
      options.json === true ? toJson(planJson(plan)) : [...holdsOf(plan), planText(plan)].join(""),
    );
    terminal.say("Nothing was changed: this was a dry run.");
    return;
  }
  await assertConfirmed(lossesOf(plan), plan, options);
  const report = await interruptible((signal) => pool.undo(image, { ...wanted, signal }));
  if (options.json === true) terminal.data(toJson(report));
  else for (const line of [...holdsOf(report), ...doneLines(report)]) terminal.say(line);
}

const holdsOf = ({ hold }: Pick<UndoReport, "hold">): string[] =>
  hold === undefined ? [] : holdLines(hold.verb, hold);

/** The plan has outcomes, which say the same as the operations that it is of. */
function lossesOf({ images }: Parameters<typeof planText>[0]): Operation[] {
  return images.flatMap(({ image, outcomes }) => {
    const isKept = outcomes[0]?.type === "create";
    return outcomes.flatMap((outcome): Operation[] => {
      if (outcome.type !== "revert" && outcome.type !== "delete") return [];
      const { id, name } = outcome.snapshot;
      const keep = outcome.type === "revert" && isKept ? { keep: name } : {};
      return [{ type: outcome.type, image, id, ...keep }];
    });
  });
}
