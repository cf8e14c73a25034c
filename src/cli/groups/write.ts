import { repairChecked } from "../commands/check-repair.ts";
import { addCheckCommand } from "../commands/check.ts";
import { addCloneCommand } from "../commands/clone.ts";
import { addDeleteCommand } from "../commands/delete.ts";
import { addHoldCommands } from "../commands/hold.ts";
import { addJournalCommand } from "../commands/journal/index.ts";
import { addPruneCommand } from "../commands/prune.ts";
import { addReceiveCommand } from "../commands/receive.ts";
import { addRecoverCommand } from "../commands/recover.ts";
import { addRenameCommand } from "../commands/rename.ts";
import { addRepairCommand } from "../commands/repair.ts";
import { addRevertCommand } from "../commands/revert.ts";
import { addRunCommand } from "../commands/run.ts";
import { addSnapshotCommand } from "../commands/snapshot.ts";
import { addUndoCommand } from "../commands/undo.ts";
import { addWriteCommands } from "../commands/write.ts";
import type { Commands } from "../run-cli.ts";
import type { CommandOf } from "./groups.ts";

/** And `check -r`. */
export const commands: Commands<CommandOf<"write"> | "check"> = {
  create: addWriteCommands,
  revert: addRevertCommand,
  delete: addDeleteCommand,
  rename: addRenameCommand,
  run: addRunCommand,
  undo: addUndoCommand,
  hold: addHoldCommands,
  release: addHoldCommands,
  prune: addPruneCommand,
  receive: addReceiveCommand,
  clone: addCloneCommand,
  recover: addRecoverCommand,
  check: (program, answer) => addCheckCommand(program, answer, repairChecked),
  repair: addRepairCommand,
  journal: addJournalCommand,
  snapshot: addSnapshotCommand,
};
