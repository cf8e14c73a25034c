import { type QcowalError, isQcowalError } from "../../index.ts";
import { journalFor } from "../journal-dir.ts";
import type { WriteOptions } from "../options.ts";
import type { Terminal } from "../terminal.ts";
import type { CheckRepair } from "../views/check.ts";
import { runOperations } from "./write.ts";

/** Damage that a repair leaves alone as a whole is for the check to count; all other failures end the command. */
const REFUSALS = ["IMAGE_DAMAGED", "IMAGE_UNSUPPORTED"] as const;

/** The repair of `check -r`: an operation in the journal, or the reason why there is none. */
export async function repairChecked(
  terminal: Terminal,
  image: string,
  what: "leaks" | "all",
  options: Pick<WriteOptions, "journal" | "actor" | "reason" | "wait">,
): Promise<CheckRepair> {
  const journal = await journalFor([image], options.journal);
  try {
    const report = await runOperations(terminal, [{ type: "repair", image, what }], journal, options);
    for (const done of report.images) {
      for (const outcome of done.outcomes) {
        if (outcome.type === "repair")
          return { transaction: report.transaction, journal: report.journal, image: done, outcome };
      }
    }
    throw new TypeError("a repair has the outcome of one");
  } catch (error) {
    if (REFUSALS.some((code) => isQcowalError(error, code))) return { refused: error as QcowalError };
    throw error;
  }
}
