import type { HoldReport, HoldVerb } from "../../index.ts";
import { printable, shownPath } from "./text.ts";

const DONE = { hold: "held", release: "released" } as const;

export const holdLines = (verb: HoldVerb, { dryRun, tag, images }: HoldReport): string[] =>
  images.map(({ image, snapshot }) => {
    const done = dryRun ? `would ${verb}` : DONE[verb];
    return `${shownPath(image)}: ${done} ${printable(snapshot.name)} as ${printable(tag)}`;
  });
