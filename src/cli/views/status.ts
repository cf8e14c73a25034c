import { dirname } from "node:path";
import type { ImageStatus } from "../../index.ts";
import { entryJson } from "./history.ts";
import { namesOf, observationText } from "./observation.ts";
import { askedFor } from "./operations.ts";
import { localTime, shownPath } from "./text.ts";

/** A line of judgement, and what it rests on. */
export function statusText(status: ImageStatus): string {
  const { image, journal, observed, interrupted, newest, snapshots } = status;
  const base = dirname(journal);
  return [
    `${shownPath(image)}: ${verdict(status, base)}`,
    ...(newest === undefined
      ? []
      : [
          `  newest in the record: ${[String(newest.transaction), localTime(newest.began), newest.status, ...newest.operations.map(askedFor)].join("  ")}`,
        ]),
    ...(interrupted?.owner === undefined
      ? []
      : [
          `  held by transaction ${interrupted.owner.transaction} of ${shownPath(interrupted.owner.journal)}`,
        ]),
    ...(observed === undefined || newest === undefined ? [] : [`  snapshots now: ${namesOf(snapshots)}`]),
  ].join("\n");
}

function verdict({ observed, interrupted, recorded, journal }: ImageStatus, base: string): string {
  if (interrupted !== undefined) return "an interrupted operation holds it: run 'qcowal recover'";
  if (!recorded) return `the record in ${shownPath(journal)} knows nothing of it`;
  return observed === undefined ? "as recorded" : `differs: it ${observationText(observed, base)}`;
}

export function statusJson({ newest, ...status }: ImageStatus): unknown {
  return { ...status, ...(newest === undefined ? {} : { newest: entryJson(newest) }) };
}
