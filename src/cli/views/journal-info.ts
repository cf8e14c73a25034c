import type { CompactionReport, JournalInfo } from "../../index.ts";
import { bytes, grouped, localTime, plural, printable } from "./text.ts";

const iso = (milliseconds: number): string => new Date(milliseconds).toISOString();

/** Each on a line of its own, names in one column. */
export function journalInfoText(info: JournalInfo): string {
  const { transactions, notes, topics, records, intents, compacted } = info;
  const lines: [name: string, value: string][] = [
    ["journal", printable(info.journal)],
    ["id", printable(info.id)],
    ["size", `${bytes(info.size)} (${grouped(info.size)} bytes on disk)`],
    ["transactions", `${grouped(transactions)} on ${imagesOf(topics)}`],
    ["pending", info.pending === 0 ? "none" : `${plural(info.pending, "transaction")}: run 'qcowal recover'`],
    ["notes", grouped(notes)],
    ["records", grouped(records)],
    ["oldest", localTime(info.oldest)],
    ["newest", localTime(info.newest)],
    ["intents kept", `${bytes(intents.bytes)} of ${plural(intents.transactions, "transaction")}`],
    ["compacted", compactedText(compacted)],
    ["head", info.head],
  ];
  const width = Math.max(...lines.map(([name]) => name.length));
  return lines.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join("\n");
}

const imagesOf = (topics: number | undefined): string =>
  topics === undefined ? "images that nobody has counted" : plural(topics, "image");

function compactedText({
  compactions,
  last,
  transactions,
  records,
  bytes: length,
}: JournalInfo["compacted"]): string {
  if (last === undefined) return "never";
  const what = `${plural(records, "record")} of ${plural(transactions, "transaction")} (${bytes(length)})`;
  return `${what} in ${plural(compactions, "compaction")}, the last on ${localTime(last)}`;
}

/** As the API returns it, with times that a person and `date -d` can read. */
export function journalInfoJson({ oldest, newest, compacted, ...info }: JournalInfo): unknown {
  const { last, ...others } = compacted;
  return {
    ...info,
    oldest: iso(oldest),
    newest: iso(newest),
    compacted: { ...others, ...(last === undefined ? {} : { last: iso(last) }) },
  };
}

/** One line. */
export function compactionText({
  dryRun,
  transactions,
  records,
  bytes: length,
  ...sizes
}: CompactionReport): string {
  if (records === 0) return "Nothing to drop.";
  const what = `the intents of ${plural(transactions, "transaction")} (${plural(records, "record")}, ${bytes(length)})`;
  if (dryRun) return `would drop ${what}; the journal takes ${bytes(sizes.sizeBefore)}`;
  return `dropped ${what}; the journal took ${bytes(sizes.sizeBefore)} and takes ${bytes(sizes.sizeAfter)}`;
}
