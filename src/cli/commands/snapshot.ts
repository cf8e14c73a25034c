import { type Command, Option } from "commander";
import { type Operation, QcowalError, isQcowalError, listSnapshots } from "../../index.ts";
import { journalFor } from "../journal-dir.ts";
import { misuse } from "../misuse.ts";
import { journalOption, withRecordOptions } from "../options.ts";
import { openTerminal } from "../terminal.ts";
import { qemuList } from "../views/qemu-snapshots.ts";
import { runOperations } from "./write.ts";

interface SnapshotOptions {
  readonly journal?: string;
  readonly actor?: string;
  readonly reason?: string;
  readonly forceShare?: boolean;
  readonly object?: string;
  readonly imageOpts?: boolean;
}

type Action =
  { readonly verb: "list" } | { readonly verb: "create" | "apply" | "delete"; readonly name: string };

/** `qemu-img snapshot`, with its arguments, its rules, its list and its two exit codes, but journaled. */
export function addSnapshotCommand(program: Command): void {
  const actions: Action[] = [];
  const command = program
    .command("snapshot")
    .description("drop-in for 'qemu-img snapshot': same arguments, same list, journaled")
    .usage("[-U] [-q] [-l | -a SNAPSHOT | -c SNAPSHOT | -d SNAPSHOT] FILENAME")
    .argument("[filename...]", "qcow2 image")
    .option("-l, --list", "list all snapshots")
    .option("-a, --apply <snapshot>", "revert the disk to the snapshot with this id or else this name")
    .option("-c, --create <snapshot>", "create a snapshot, even of a name that exists")
    .option("-d, --delete <snapshot>", "delete the first snapshot with this name")
    .option("-U, --force-share", "list without locks, beside a running VM")
    .option("-q, --quiet", "accepted for compatibility; success is silent anyway")
    .addOption(journalOption())
    .addOption(new Option("--object <definition>").hideHelp())
    .addOption(new Option("--image-opts").hideHelp());
  withRecordOptions(command)
    .addHelpText(
      "after",
      `
Exit codes are those of qemu-img: 0, or 1 for every failure.

Examples:
  $ qcowal snapshot -c before-upgrade web.qcow2
  $ qcowal snapshot -a before-upgrade web.qcow2
  $ qcowal snapshot -l web.qcow2`,
    )
    .on("option:list", () => actions.push({ verb: "list" }))
    .action((files: string[], options: SnapshotOptions) => snapshot(files, actions, options));
  for (const verb of ["create", "apply", "delete"] as const) {
    command.on(`option:${verb}`, (name: string) => actions.push({ verb, name }));
  }
}

async function snapshot(
  files: readonly string[],
  actions: readonly Action[],
  options: SnapshotOptions,
): Promise<void> {
  const [file, ...others] = files;
  const [action, ...mixed] = actions;
  if (mixed.length > 0) throw misuse("Cannot mix '-l', '-a', '-c', '-d'");
  if (file === undefined || others.length > 0) throw misuse("Expecting one image file name");
  if (options.object !== undefined || options.imageOpts === true) {
    throw misuse("--object and --image-opts are not supported: name a qcow2 file");
  }
  const forceShare = options.forceShare === true;
  if (action === undefined || action.verb === "list") {
    const snapshots = await listSnapshots(file, { forceShare });
    if (action !== undefined) await openTerminal(false).lines(qemuList(snapshots));
    return;
  }
  if (forceShare) throw misuse("-U can only be used with -l");
  await write(file, action, options);
}

function operationOf(image: string, { verb, name }: Exclude<Action, { verb: "list" }>): Operation {
  switch (verb) {
    case "create":
      return { type: "create", image, name, force: true };
    case "apply":
      return { type: "revert", image, name, lookup: "id-then-name" };
    case "delete":
      return { type: "delete", image, name, lookup: "first" };
  }
}

async function write(
  file: string,
  action: Exclude<Action, { verb: "list" }>,
  options: SnapshotOptions,
): Promise<void> {
  const journal = await journalFor([file], options.journal);
  try {
    await runOperations(openTerminal(false), [operationOf(file, action)], journal, options);
  } catch (error) {
    if (isQcowalError(error, "SNAPSHOT_NOT_FOUND")) {
      const what = `Could not ${action.verb} snapshot '${action.name}'`;
      throw new QcowalError(error.code, `${what}: snapshot not found`, { cause: error });
    }
    throw error;
  }
}
