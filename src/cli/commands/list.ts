import type { Command } from "commander";
import {
  type Lineage,
  type Moment,
  type SnapshotFacts,
  lineageOf,
  listSnapshots,
  openHistory,
  parseDeletedName,
} from "../../index.ts";
import { journalFor } from "../journal-dir.ts";
import { jsonLines } from "../json.ts";
import { asOfOption } from "../moment-option.ts";
import { type CommonOptions, withCommonOptions } from "../options.ts";
import { type Terminal, openTerminal } from "../terminal.ts";
import { qemuJson } from "../views/qemu-snapshots.ts";
import { sayHidden } from "../views/deleted.ts";
import { type Listed, snapshotTable } from "../views/snapshots.ts";
import { printable } from "../views/text.ts";

interface ListOptions extends CommonOptions {
  readonly forceShare?: boolean;
  readonly asOf?: Moment;
  readonly all?: boolean;
}

export function addListCommand(program: Command): void {
  withCommonOptions(program.command("list"))
    .description("list the snapshots of an image")
    .argument("<image>", "qcow2 image")
    .option("-U, --force-share", "look at an image that a running VM holds; what is shown may be out of date")
    .option("-a, --all", "snapshots too that were deleted recoverably and are kept for a while")
    .addOption(asOfOption("the snapshots that the record had"))
    .addHelpText(
      "after",
      `
The JSON has the fields of 'snapshots' in 'qemu-img info --output=json', and
'parent', 'current' and 'auto' as far as the record knows them. No journal is needed, and
none is waited for: without one, that is left out. With --as-of the list comes
from the record alone; the image may be gone.

Examples:
  $ qcowal list web.qcow2
  $ qcowal list --json web.qcow2 | jq -r '.[].name'
  $ qcowal list web.qcow2 --as-of yesterday`,
    )
    .action(list);
}

async function list(image: string, options: ListOptions): Promise<void> {
  const terminal = openTerminal(options.quiet === true);
  if (options.asOf !== undefined) {
    await listAsOf(image, options.asOf, options, terminal);
    return;
  }
  const snapshots = await listSnapshots(image, { forceShare: options.forceShare === true });
  const lineage = await lineageFor(image, snapshots, options);
  const isShown = shownBy(options);
  const shown = snapshots.filter(isShown);
  const itsLineage = lineage?.filter((_, index) =>
    shown.includes(snapshots[index] as (typeof snapshots)[number]),
  );
  if (options.json === true) await terminal.lines(jsonLines(qemuJson(shown, itsLineage)));
  else await print(image, shown, itsLineage, terminal);
  sayHidden(snapshots.length - shown.length, terminal);
}

/** What was deleted recoverably is there only to be brought back. */
const shownBy =
  ({ all }: ListOptions) =>
  ({ name }: { readonly name: string }): boolean =>
    all === true || parseDeletedName(name) === undefined;

/** A list is a list, whatever is with the journal. */
async function lineageFor(
  image: string,
  snapshots: Parameters<typeof lineageOf>[2],
  options: ListOptions,
): Promise<Lineage[] | undefined> {
  const journal = await journalFor([image], options.journal).catch(() => undefined);
  return journal === undefined || snapshots.length === 0 ? undefined : lineageOf(journal, image, snapshots);
}

async function listAsOf(
  image: string,
  moment: Moment,
  options: ListOptions,
  terminal: Terminal,
): Promise<void> {
  await using history = await openHistory(await journalFor([image], options.journal));
  const nodes = await history.asOf(image, moment);
  const facts = nodes.map(({ snapshot }) => snapshot).filter(shownBy(options));
  if (options.json === true) await terminal.lines(jsonLines(qemuJson(facts.map(fromRecord))));
  else await print(image, facts, undefined, terminal);
}

/** The record keeps what may be more than a number holds as text. */
const fromRecord = ({ vmClockNsec, icount, ...facts }: SnapshotFacts) => ({
  ...facts,
  vmClockNsec: vmClockNsec === undefined ? undefined : BigInt(vmClockNsec),
  icount: icount === undefined ? undefined : BigInt(icount),
});

async function print(
  image: string,
  snapshots: readonly Listed[],
  lineage: readonly Lineage[] | undefined,
  terminal: Terminal,
): Promise<void> {
  if (snapshots.length > 0) await terminal.lines(snapshotTable(snapshots, lineage));
  else terminal.say(`${printable(image)} has no snapshots.`);
}
