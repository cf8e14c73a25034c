import type { Intent } from "./intent.ts";

/** Host offset of the structure that an intent changes: two intents on different ones touch no sector in common. */
export function positionOf(intent: Intent): number {
  switch (intent.kind) {
    case "fill":
      return intent.offset;
    case "refcount":
      return intent.block;
    case "copied":
    case "zero":
      return intent.table;
    case "pointer":
      return intent.slot;
    case "header":
    case "discard":
      return 0;
  }
}
