import { type Command, Option } from "commander";
import { openHistory } from "../../index.ts";
import { paintFor } from "../colours.ts";
import { journalFor } from "../journal-dir.ts";
import { jsonLines } from "../json.ts";
import { asOfOption } from "../moment-option.ts";
import type { Moment } from "../../index.ts";
import { type CommonOptions, poolOptionsOf, withJournalOptions } from "../options.ts";
import { openTerminal } from "../terminal.ts";
import { shownPath } from "../views/text.ts";
import { isGone, sayHidden } from "../views/deleted.ts";
import { treeJson, treeText } from "../views/tree.ts";
import { treeDot, treeSvg } from "../views/tree-picture.ts";

interface TreeOptions extends CommonOptions {
  readonly output: "text" | "json" | "svg" | "dot";
  readonly all?: boolean;
  readonly asOf?: Moment;
}

export function addTreeCommand(program: Command): void {
  withJournalOptions(program.command("tree"))
    .description("the snapshots as a tree: which state each was taken from, and where the disk stands")
    .argument("<image>", "qcow2 image; it may be gone")
    .option("-a, --all", "also the snapshots that are gone, and how they went, or until when they are kept")
    .addOption(asOfOption("the tree as it was"))
    .addOption(
      new Option("--output <form>", "how to print; dot is for Graphviz")
        .choices(["text", "json", "svg", "dot"])
        .default("text"),
    )
    .addHelpText(
      "after",
      `
What stands below a snapshot in its column was taken from it; what branches off
stands between them, to the right. qcow2 does not store it: it comes from the
record. Of what others did the record knows what was seen later: 'qcowal status'
tells what it does not know yet. The JSON always has everything.

Examples:
  $ qcowal tree web.qcow2
  $ qcowal tree --all --output svg web.qcow2 > web.svg`,
    )
    .action(tree);
}

async function tree(image: string, options: TreeOptions): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  const journal = await journalFor([image], options.journal);
  await using history = await openHistory(journal, poolOptionsOf(options));
  const found = await history.tree(image, options.asOf);
  const all = options.all === true;
  switch (options.json === true ? "json" : options.output) {
    case "json":
      await terminal.lines(jsonLines(treeJson(found)));
      break;
    case "dot":
      await terminal.lines(treeDot(found, all));
      break;
    case "svg":
      await terminal.lines(treeSvg(shownPath(image), found, all));
      break;
    case "text":
      await terminal.lines(treeText(shownPath(image), found, all, paintFor(process.stdout)));
      if (!all)
        sayHidden(found.nodes.filter((node) => node.gone === undefined && isGone(node)).length, terminal);
  }
}
