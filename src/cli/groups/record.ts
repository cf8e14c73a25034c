import { addBlameCommand } from "../commands/blame.ts";
import { addHistoryCommand } from "../commands/history.ts";
import { addListCommand } from "../commands/list.ts";
import { addShowCommand } from "../commands/show.ts";
import { addStatusCommand } from "../commands/status.ts";
import { addTreeCommand } from "../commands/tree.ts";
import type { Commands } from "../run-cli.ts";
import type { CommandOf } from "./groups.ts";

export const commands: Commands<CommandOf<"record">> = {
  list: addListCommand,
  history: addHistoryCommand,
  show: addShowCommand,
  tree: addTreeCommand,
  blame: addBlameCommand,
  status: addStatusCommand,
};
