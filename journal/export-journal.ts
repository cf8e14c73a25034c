import type { JournalReader } from "./journal-reader.ts";
import { encodeLine } from "./json-line.ts";

/**
 * The journal as JSON Lines, each with its end: one for each record, which
 * `importJournal` takes back. Bytes in a body read `{"$base64": "..."}`, bigints
 * `{"$bigint": "..."}`. Memory: one record.
 * @throws QcowalError JOURNAL_DAMAGED naming the first record that is missing, torn or edited
 */
export async function* exportJournal(journal: Pick<JournalReader, "records">): AsyncGenerator<string> {
  for await (const record of journal.records()) yield `${encodeLine(record)}\n`;
}
