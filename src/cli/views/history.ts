import { dirname } from "node:path";
import type { Actor, HistoryEntry } from "../../index.ts";
import { askedFor } from "./operations.ts";
import { localTime, printable, quoted, shownPath, table } from "./text.ts";

const who = ({ user, host, program, pid, name }: Actor): string =>
  printable(`${name === undefined ? "" : `${name}, `}${user}@${host} ${program}[${pid}]`);

/** What was done to which image. A repair is no operation, but has its line too. */
function linesOf({ operations, images, repair }: HistoryEntry): { what: string; image: string }[] {
  if (repair === undefined) {
    return operations.map((operation) => ({ what: askedFor(operation), image: operation.image }));
  }
  const { interrupted } = repair;
  const what = interrupted === undefined ? "repair" : `repair after ${interrupted.transaction}`;
  return images.map(({ image }) => ({ what, image }));
}

/** One line for each operation, oldest first. */
export function historyTable(journal: string, entries: readonly HistoryEntry[]): string {
  const rows = entries.flatMap((entry) =>
    linesOf(entry).map(({ what, image }, index) => [
      index === 0 ? String(entry.transaction) : "",
      index === 0 ? localTime(entry.began) : "",
      index === 0 ? entry.status : "",
      what,
      // A journal usually lies beside its images.
      shownPath(image, dirname(journal)),
      index === 0 ? who(entry.actor) : "",
      index === 0 && entry.reason !== undefined ? quoted(entry.reason) : "",
    ]),
  );
  return table([["NO", "BEGAN", "STATUS", "OPERATION", "IMAGE", "WHO", "REASON"], ...rows]);
}

const iso = (milliseconds: number): string => new Date(milliseconds).toISOString();

/** As the API returns it, with times that a person and `date -d` can read. */
export function historyJson(entries: readonly HistoryEntry[]): unknown {
  return entries.map(({ began, ended, ...entry }) => ({
    ...entry,
    began: iso(began),
    ...(ended === undefined ? {} : { ended: iso(ended) }),
  }));
}
