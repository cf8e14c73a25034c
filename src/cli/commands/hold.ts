import type { Command } from "commander";
import { openPool } from "../../index.ts";
import { journalFor } from "../journal-dir.ts";
import {
  type WriteOptions,
  poolOptionsOf,
  recordOf,
  withJournalOptions,
  withRecordOptions,
} from "../options.ts";
import { parseSelector } from "../selector.ts";
import { openTerminal } from "../terminal.ts";
import { printable, shownPath } from "../views/text.ts";

interface HoldCommandOptions extends WriteOptions {
  readonly tag?: string;
}

export function addHoldCommands(program: Command): void {
  for (const [verb, done, description] of [
    ["hold", "held", "keep a snapshot from being deleted and pruned, until it is released"],
    ["release", "released", "let a held snapshot go"],
  ] as const) {
    withRecordOptions(withJournalOptions(program.command(verb)))
      .description(description)
      .argument("<snapshot>", "exact name, or id:N (name:TEXT for a name that begins with id: or name:)")
      .argument("<image...>", "qcow2 images, one after the other")
      .option("--tag <tag>", "several may hold a snapshot, each under a tag of its own (default: hold)")
      .action(async (snapshot: string, images: string[], options: HoldCommandOptions) => {
        const terminal = openTerminal(options.quiet === true);
        const selector = parseSelector(snapshot);
        await using pool = await openPool(await journalFor(images, options.journal), poolOptionsOf(options));
        const tag = options.tag === undefined ? {} : { tag: options.tag };
        for (const image of images) {
          await pool[verb](image, "id" in selector ? selector : selector.name, {
            ...recordOf(options),
            ...tag,
          });
          terminal.say(
            `${shownPath(image)}: ${done} ${printable(snapshot)} as ${printable(options.tag ?? "hold")}`,
          );
        }
      });
  }
}
