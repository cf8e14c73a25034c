import { hostname } from "node:os";
import { type JournalReader, readJournal } from "../../journal/index.ts";
import { topicsOf } from "../engine/index.ts";
import { isQcowalError } from "../errors/index.ts";

/** A journal to read beside whoever holds it; undefined where there is none. */
export async function journalToRead(dir: string): Promise<JournalReader | undefined> {
  return readJournal(dir, { host: hostname(), topicsOf }).catch((error: unknown) => {
    if (isQcowalError(error, "JOURNAL_NOT_FOUND")) return undefined;
    throw error;
  });
}
