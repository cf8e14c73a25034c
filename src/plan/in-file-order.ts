import type { Intent } from "../intent/index.ts";

function positionOf(intent: Intent): number {
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

export const inFileOrder = (intents: readonly Intent[]): Intent[] =>
  intents.toSorted((a, b) => positionOf(a) - positionOf(b));
