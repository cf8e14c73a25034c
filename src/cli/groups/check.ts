import { addCheckCommand } from "../commands/check.ts";
import type { Commands } from "../run-cli.ts";
import type { CommandOf } from "./groups.ts";

export const commands: Commands<CommandOf<"check">> = {
  check: (program, answer) => addCheckCommand(program, answer, undefined),
};
