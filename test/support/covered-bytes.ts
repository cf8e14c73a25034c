import type { ByteRange, Intent } from "../../src/intent/index.ts";

/**
 * The bytes that an intent answers for: those it changes, and those that it
 * knows well enough to see a change in. A byte that no intent of a transaction
 * covers can be changed behind the fence unseen: free clusters, data, tables
 * whose flags stay, refcounts that stay.
 */
export function coveredRanges(intent: Intent): ByteRange[] {
  switch (intent.kind) {
    case "fill":
      return [{ offset: intent.offset, length: intent.length }];
    case "refcount": {
      const width = 2 ** intent.order;
      return intent.runs.map(([first, count]) => {
        const start = Math.floor((first * width) / 8);
        return {
          offset: intent.block + start,
          length: Math.ceil(((first + count) * width) / 8) - start,
        };
      });
    }
    case "copied":
      return [{ offset: intent.table, length: intent.length }];
    case "pointer":
      return [{ offset: intent.slot, length: 8 }];
    case "zero":
      return intent.entries.map(([entry]) => ({ offset: intent.table + entry * 8, length: 8 }));
    case "header":
      return intent.patches.map(({ offset, after }) => ({ offset, length: after.length }));
    case "discard":
      return [];
  }
}

export const contains = ({ offset, length }: ByteRange, at: number): boolean =>
  offset <= at && at < offset + length;
