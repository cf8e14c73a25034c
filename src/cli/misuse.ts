import { CommanderError } from "commander";
import { EXIT } from "./exit-codes.ts";

/** Wrong use that the command parser cannot see. */
export const misuse = (message: string): CommanderError =>
  new CommanderError(EXIT.misuse, "qcowal.misuse", message);
