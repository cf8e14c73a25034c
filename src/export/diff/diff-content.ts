import type { OpenState } from "../open-state.ts";
import { type ByteRange, contentDifferences } from "./content-differences.ts";
import { type DiffOptions, type DiffSides, diffSnapshots, throwIfAborted } from "./diff-snapshots.ts";
import type { SnapshotRef } from "./root.ts";

/**
 * What of the disk really differs between two states, exact to 512 bytes: both
 * are read where they are mapped differently, and nowhere else. `openState` says
 * what they hold. Of disks of different sizes, all that only one of them has
 * differs.
 * @throws QcowalError as `diffSnapshots` and reading do
 */
export async function* diffContent(
  path: string,
  from: SnapshotRef,
  to: SnapshotRef | undefined,
  openState: OpenState,
  options: DiffOptions & { readonly onSides?: (sides: DiffSides) => void } = {},
): AsyncGenerator<ByteRange> {
  const { signal } = options;
  const how = { forceShare: options.forceShare === true, ...(signal === undefined ? {} : { signal }) };
  const one = await openState(path, { snapshot: from, ...how });
  try {
    const other = await openState(path, { ...(to === undefined ? {} : { snapshot: to }), ...how });
    try {
      const ranges = diffSnapshots(path, from, to, options);
      yield* contentDifferences(ranges, one, other, () => throwIfAborted(signal));
    } finally {
      await other.close();
    }
  } finally {
    await one.close();
  }
}
