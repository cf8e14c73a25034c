import type { Command } from "commander";
import { listSnapshots } from "../../index.ts";
import { jsonLines } from "../json.ts";
import { type CommonOptions, withCommonOptions } from "../options.ts";
import { openTerminal } from "../terminal.ts";
import { qemuJson } from "../views/qemu-snapshots.ts";
import { snapshotTable } from "../views/snapshots.ts";
import { printable } from "../views/text.ts";

interface ListOptions extends CommonOptions {
  readonly forceShare?: boolean;
}

export function addListCommand(program: Command): void {
  withCommonOptions(program.command("list"))
    .description("list the snapshots of an image")
    .argument("<image>", "qcow2 image")
    .option("-U, --force-share", "look at an image that a running VM holds; what is shown may be out of date")
    .addHelpText(
      "after",
      `
The JSON has the fields of 'snapshots' in 'qemu-img info --output=json'.
No journal is needed: --journal is accepted as everywhere.

Examples:
  $ qcowal list web.qcow2
  $ qcowal list --json web.qcow2 | jq -r '.[].name'`,
    )
    .action(list);
}

async function list(image: string, options: ListOptions): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  const snapshots = await listSnapshots(image, { forceShare: options.forceShare === true });
  if (options.json === true) await terminal.lines(jsonLines(qemuJson(snapshots)));
  else if (snapshots.length > 0) await terminal.lines(snapshotTable(snapshots));
  else terminal.say(`${printable(image)} has no snapshots.`);
}
