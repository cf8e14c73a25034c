/**
 * A recoverable delete keeps the snapshot under a name that says until when, and
 * what it was called: qcow2 has no other place for it, and every tool that lists
 * snapshots shows it.
 */
const PREFIX = ".deleted/";
const PATTERN = /^\.deleted\/(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)\/(.*)$/s;

/** What the name of a snapshot says that was deleted recoverably. */
export interface DeletedName {
  /** What it was called. */
  readonly name: string;
  /** Until when it is kept, in milliseconds since 1970. */
  readonly until: number;
}

/** The name of a snapshot that is kept for so long: whole seconds, later rather than earlier. */
export function deletedName({ name, until }: DeletedName): string {
  const time = new Date(Math.ceil(until / 1000) * 1000).toISOString().slice(0, "2026-01-01T00:00:00".length);
  return `${PREFIX}${time}Z/${name}`;
}

/** Undefined for the name of any other snapshot. */
export function parseDeletedName(text: string): DeletedName | undefined {
  const [, time = "", name = ""] = PATTERN.exec(text) ?? [];
  const until = Date.parse(time);
  return Number.isNaN(until) ? undefined : { name, until };
}

/** Those snapshots that were deleted recoverably and need not be kept any more at `now` (milliseconds since 1970). */
export function expiredSnapshots<S extends { readonly name: string }>(
  snapshots: readonly S[],
  now: number,
): S[] {
  return snapshots.filter(({ name }) => (parseDeletedName(name)?.until ?? Infinity) <= now);
}
