import type { UnalignedZero } from "../image/index.ts";
import type { ZeroIntent, ZeroedEntry } from "../intent/index.ts";

/** An intent of this many entries still fits a journal record. */
const MAX_ENTRIES = 16_384;

/** Makes plain zeros of entries, in the order of the tables and in each table of its entries. */
export function zeroIntents(zeros: readonly UnalignedZero[]): ZeroIntent[] {
  const intents: ZeroIntent[] = [];
  for (const [table, entries] of byTable(zeros)) {
    for (let at = 0; at < entries.length; at += MAX_ENTRIES) {
      intents.push({ kind: "zero", table, entries: entries.slice(at, at + MAX_ENTRIES) });
    }
  }
  return intents;
}

function byTable(zeros: readonly UnalignedZero[]): Map<number, ZeroedEntry[]> {
  const tables = new Map<number, ZeroedEntry[]>();
  for (const { table, entry, high, low } of zeros) {
    const entries = tables.get(table) ?? [];
    entries.push([entry, high, low]);
    tables.set(table, entries);
  }
  return tables;
}
