import { dirname } from "node:path";
import type { Event } from "./change.ts";

/**
 * LevelDB writes the name of a new table into its MANIFEST before it syncs the
 * directory, and relies on what ext4, XFS and btrfs do though POSIX does not ask
 * for it: a new file that was synced has its name.
 */
export function withNamesOfTables(events: readonly Event[]): Event[] {
  const shifted: Event[] = [];
  /** Where each event has come to. */
  const places: number[] = [];
  for (const event of events) {
    places.push(shifted.length);
    if (event.kind !== "sync") {
      shifted.push(event);
      continue;
    }
    shifted.push({ ...event, covers: places[event.covers] ?? shifted.length });
    if (!event.path.endsWith(".ldb")) continue;
    shifted.push({ kind: "sync", path: dirname(event.path), covers: shifted.length });
  }
  return shifted;
}
