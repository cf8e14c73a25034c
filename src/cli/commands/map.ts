import { type Command, Option } from "commander";
import { openView } from "../../index.ts";
import { parseImageAt } from "../image-at.ts";
import { interruptible } from "../interruption.ts";
import { openTerminal } from "../terminal.ts";
import { mapJson, mapTable } from "../views/map.ts";

interface MapOptions {
  readonly output?: "human" | "json";
  readonly json?: boolean;
  readonly forceShare?: boolean;
}

/** Lines that are printed at a time. */
const BATCH = 1000;

export function addMapCommand(program: Command): void {
  program
    .command("map")
    .description("show how the content of an image, or of a snapshot, is stored; as 'qemu-img map'")
    .argument("<image[@snapshot]>", "qcow2 image, and a snapshot by its name or id:N")
    .addOption(new Option("--output <form>", "how to print").choices(["human", "json"]).default("human"))
    .option("--json", "the same as --output json")
    .option("-U, --force-share", "take no locks, beside a running VM; what is shown may be out of date")
    .addHelpText(
      "after",
      `
The JSON has the fields of 'qemu-img map', which knows no snapshots. Raw files
behind an image count as data as a whole.

Examples:
  $ qcowal map web.qcow2
  $ qcowal map --output=json web.qcow2@before-upgrade | jq 'map(select(.data).length) | add'`,
    )
    .action(map);
}

async function map(text: string, options: MapOptions): Promise<void> {
  const terminal = openTerminal(false);
  const { image, snapshot } = parseImageAt(text);
  await interruptible(async (signal) => {
    await using view = await openView(image, {
      forceShare: options.forceShare === true,
      signal,
      ...(snapshot === undefined ? {} : { snapshot }),
    });
    const isJson = options.json === true || options.output === "json";
    const extents = view.extents(0, view.size, { signal });
    const lines = isJson ? mapJson(extents) : mapTable(extents, view.files);
    let batch: string[] = [];
    for await (const line of lines) {
      if (batch.push(line) < BATCH) continue;
      await terminal.lines(batch);
      batch = [];
    }
    await terminal.lines(batch);
  });
}
