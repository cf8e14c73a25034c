import { type JournalReader, openHistory } from "../../../index.ts";
import { journalHere, namedJournal } from "../../journal-dir.ts";
import type { Terminal } from "../../terminal.ts";
import { plural } from "../../views/text.ts";

/** The journal that is named, or the one in this directory. */
export async function openReader(option: string | undefined): Promise<JournalReader> {
  const { journal } = await openHistory(namedJournal(option) ?? (await journalHere()));
  return journal;
}

/** A torn end is nobody's edit, but whoever keeps a journal elsewhere has to know that something stood there. */
export function sayTorn(terminal: Terminal, { tornTail }: Pick<JournalReader, "tornTail">): void {
  if (tornTail === undefined) return;
  const { sequence, last, reason } = tornTail;
  terminal.say(
    `${plural(last - sequence + 1, "record")} behind the end (from ${sequence}) torn and set aside: ${reason}. A power cut leaves that, and nobody was told that it was done; the next operation takes the place.`,
  );
}
