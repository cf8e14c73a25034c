import type { Journal } from "../../journal/index.ts";
import type { Actor } from "./actor.ts";
import type { ObservedBody } from "./bodies.ts";
import type { Observation } from "./observation.ts";
import type { Seen } from "./observe.ts";
import { topicsOf } from "./topics.ts";

/**
 * Takes a note of what an image shows that the record does not know. An image
 * that is seen for the first time enters the record with its first operation,
 * not by being looked at.
 */
export async function recordObservation(
  journal: Journal,
  { identity }: Seen,
  observed: Observation,
  actor: Actor,
): Promise<void> {
  if (observed.what === "first seen") return;
  const body: ObservedBody = { type: "observed", image: identity, observed, actor };
  await journal.note(body, topicsOf({ kind: "note", body }));
}
