import type { JournalReader } from "./journal-reader.ts";
import { encodeLine } from "./json-line.ts";
import { throwIfAborted } from "./throw-if-aborted.ts";

export interface ExportOptions {
  /** Ends it with ABORTED. */
  readonly signal?: AbortSignal;
}

/**
 * The journal as JSON Lines, each with its end: one for each record, and for each run of them that a compaction dropped, which
 * `importJournal` takes back. Bytes in a body read `{"$base64": "..."}`, bigints
 * `{"$bigint": "..."}`. Memory: one record.
 * @throws QcowalError JOURNAL_DAMAGED naming the first record that is missing, torn or edited; ABORTED
 */
export async function* exportJournal(
  journal: Pick<JournalReader, "links">,
  options: ExportOptions = {},
): AsyncGenerator<string> {
  for await (const link of journal.links()) {
    throwIfAborted(options.signal, "export");
    yield `${encodeLine(link)}\n`;
  }
}
