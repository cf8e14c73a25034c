import { openView } from "../../index.ts";
import { addDiffCommand } from "../commands/diff.ts";
import { addExportCommand } from "../commands/export.ts";
import { addMapCommand } from "../commands/map.ts";
import { addSendCommand } from "../commands/send.ts";
import { addServeCommand } from "../commands/serve.ts";
import type { Commands } from "../run-cli.ts";
import type { CommandOf } from "./groups.ts";

export const commands: Commands<CommandOf<"guest">> = {
  export: addExportCommand,
  map: addMapCommand,
  diff: (program) => addDiffCommand(program, openView),
  send: (program) => addSendCommand(program, openView),
  serve: addServeCommand,
};
