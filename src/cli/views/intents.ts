import { type Intent, type PlannedIntent, headerChanges } from "../../index.ts";
import { bytes, plural } from "./text.ts";

const hex = (offset: number): string => `0x${offset.toString(16)}`;
const span = (first: number, count: number): string =>
  count === 1 ? String(first) : `${first}-${first + count - 1}`;

/** Longer lists say no more to a person; the JSON has all of them. */
const MOST_RUNS = 6;

function few<Run>(runs: readonly Run[], text: (run: Run) => string): string {
  const shown = runs.slice(0, MOST_RUNS).map(text);
  return runs.length > shown.length
    ? `${shown.join(", ")} and ${plural(runs.length - shown.length, "more run")}`
    : shown.join(", ");
}

/** What an intent makes so: what, where, from, to. */
export function intentText(intent: Intent): string {
  switch (intent.kind) {
    case "fill":
      return `fill ${bytes(intent.length)} at ${hex(intent.offset)} (SHA-256 ${Buffer.from(intent.digest).toString("hex").slice(0, 16)}…)`;
    case "refcount":
      return `refcount block at ${hex(intent.block)}: ${few(
        intent.runs,
        ([first, count, from, to]) => `entry ${span(first, count)} ${from} -> ${to}`,
      )}`;
    case "copied":
      return `${intent.set ? "set" : "clear"} COPIED in the table at ${hex(intent.table)}: ${few(
        intent.runs,
        ([first, count]) => `entry ${span(first, count)}`,
      )}`;
    case "pointer":
      return `refcount table slot at ${hex(intent.slot)}: ${hex(intent.from)} -> ${hex(intent.to)}`;
    case "header":
      return `header: ${headerText(intent.patches)}`;
    case "discard":
      return `punch out ${few(intent.runs, ([offset, length]) => `${bytes(length)} at ${hex(offset)}`)}`;
    case "zero":
      return `give up clusters behind zeros in the L2 table at ${hex(intent.table)}: ${few(
        intent.entries,
        ([entry]) => `entry ${entry}`,
      )}`;
  }
}

/** The fields that change; of what is no field, the bytes. */
function headerText(patches: Extract<Intent, { kind: "header" }>["patches"]): string {
  const changes = headerChanges(patches);
  if (changes.length > 0) return changes.map(({ field, from, to }) => `${field} ${from} -> ${to}`).join(", ");
  return few(
    patches,
    ({ offset, before, after }) => `bytes at ${offset} ${hexBytes(before)} -> ${hexBytes(after)}`,
  );
}

const hexBytes = (data: Uint8Array): string => {
  const text = Buffer.from(data).toString("hex");
  return text.length > 32 ? `${text.slice(0, 32)}… (${data.length} bytes)` : text;
};

/** As data, on one line of its own: contents by their digest, as the journal logs them. */
export function intentJson({ phase, image, intent }: PlannedIntent): Record<string, unknown> {
  return { phase, image, intent: intent.kind === "fill" ? { ...intent, bytes: undefined } : intent };
}
