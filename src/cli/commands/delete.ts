import type { Command } from "commander";
import type { Operation } from "../../index.ts";
import { misuse } from "../misuse.ts";
import { parseDuration } from "../moment.ts";
import { type WriteOptions, withConfirmation, withWriteOptions } from "../options.ts";
import { parseSelector } from "../selector.ts";
import { IMAGES, SELECTING, examples } from "./words.ts";
import { write } from "./write.ts";

interface DeleteOptions extends WriteOptions {
  readonly name?: readonly string[];
  readonly id?: readonly string[];
  /** Milliseconds. */
  readonly recoverable?: number;
}

const collected = (value: string, list: readonly string[] = []): string[] => [...list, value];

export function addDeleteCommand(program: Command): void {
  withConfirmation(withWriteOptions(program.command("delete")))
    .description("delete snapshots and free what only they held")
    .usage(
      "[options] <snapshot> <image...>\n       qcowal delete [options] --name <name> [--name <name>...] <image...>",
    )
    .argument("[snapshot]", SELECTING[1])
    .argument("[image...]", IMAGES[1])
    .option("--name <name>", "a snapshot by its exact name; several are deleted together", collected)
    .option("--id <id>", "a snapshot by its id; goes with --name", collected)
    .option(
      "--recoverable <duration>",
      "hide it for so long, and free nothing before ('qcowal undo' brings it back; 7d with --recoverable alone)",
      parseDuration,
    )
    .option("--even-if-held", "also when somebody holds it (a refusal without it)")
    .addHelpText(
      "after",
      examples(
        "delete before-upgrade web.qcow2",
        "delete --name mon --name tue --name wed web.qcow2",
        "delete before-upgrade web.qcow2 --recoverable=30d",
      ),
    )
    .action(async (first: string | undefined, others: string[], options: DeleteOptions) => {
      const { selections, images } = chosen(first, others, options);
      const { recoverable, evenIfHeld } = options;
      const operations = images.flatMap((image) =>
        selections.map((selection): Operation => ({
          type: "delete",
          image,
          ...selection,
          ...(recoverable === undefined ? {} : { recoverableFor: recoverable }),
          ...(evenIfHeld === true ? { evenIfHeld } : {}),
        })),
      );
      await write(operations, images, options);
    });
}

/** With --name or --id all words are images. */
function chosen(
  first: string | undefined,
  others: readonly string[],
  { name = [], id = [] }: DeleteOptions,
): { selections: readonly ({ name: string } | { id: string })[]; images: readonly string[] } {
  const named = [...name.map((text) => ({ name: text })), ...id.map((text) => ({ id: text }))];
  const words = first === undefined ? [] : [first, ...others];
  if (named.length > 0) {
    if (words.length === 0) throw misuse("missing required argument 'image'");
    return { selections: named, images: words };
  }
  if (first === undefined) throw misuse("missing required argument 'snapshot'");
  if (others.length === 0) throw misuse("missing required argument 'image'");
  return { selections: [parseSelector(first)], images: others };
}
