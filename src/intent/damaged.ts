import { QcowalError } from "../errors/index.ts";

export function damagedIntent(what: string): QcowalError {
  return new QcowalError(
    "JOURNAL_DAMAGED",
    `An intent in the journal is malformed: ${what}. Nothing was changed.`,
  );
}
