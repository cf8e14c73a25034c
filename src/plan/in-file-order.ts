import { type Intent, positionOf } from "../intent/index.ts";

export const inFileOrder = (intents: readonly Intent[]): Intent[] =>
  intents.toSorted((a, b) => positionOf(a) - positionOf(b));
