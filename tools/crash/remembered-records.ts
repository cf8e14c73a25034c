/** Stands in for `journal/record.ts` in the processes of a search. */
import { decodeRecord as decode } from "../../journal/record.ts";

export * from "../../journal/record.ts";

type Decode = typeof decode;

const known = new WeakMap<Uint8Array, ReturnType<Decode>>();

/**
 * Decodes each stored value once: thousands of states of a case share the
 * beginning of their journal, and nobody edits a value in the store. What is
 * shared is frozen, so that a process that changed a record it has read would
 * fail instead of changing it for the others.
 */
export const decodeRecord: Decode = (value) => {
  let record = known.get(value);
  if (record === undefined) {
    record = frozen(decode(value));
    known.set(value, record);
  }
  return record;
};

/** Bytes cannot be frozen; those of a record are the store's own anyway. */
function frozen<Value>(value: Value): Value {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  for (const part of Object.values(value)) frozen(part);
  return Object.freeze(value);
}
