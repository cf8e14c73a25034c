import type { Observation } from "../../index.ts";
import { plural, printable, quoted, shownPath } from "./text.ts";

/** What an image showed that the record did not know, as a clause about it. */
export function observationText({ what, from, fromGone, as }: Observation, base?: string): string {
  const origin = from === undefined ? "" : shownPath(from, base);
  const since = as === undefined ? "" : ` (with the snapshots that it had after transaction ${as})`;
  switch (what) {
    case "first seen":
      return "was not in the record";
    case "listed":
      return "was listed anew, because the record could not tell its snapshots";
    case "moved":
      return `was moved here from ${origin}`;
    case "linked":
      return `is the same file as ${origin}`;
    case "copied":
      return fromGone === true
        ? `is another file with the snapshots of ${origin} after transaction ${as}, which is gone: a copy, or moved from another file system`
        : `is a copy of ${origin} as of transaction ${as}`;
    case "replaced":
      return `was replaced by another file${since}`;
    case "changed":
      return `was changed by others${since}`;
  }
}

const MOST_NAMES = 20;

/** The names of the snapshots, as many as a person reads. */
export function namesOf(snapshots: readonly { readonly name: string }[], unlisted = 0): string {
  if (snapshots.length + unlisted === 0) return "none";
  const shown = snapshots.slice(0, MOST_NAMES).map(({ name }) => quoted(name));
  const more = snapshots.length + unlisted - shown.length;
  return printable(shown.join(", ")) + (more === 0 ? "" : ` and ${plural(more, "other")}`);
}
