import { type Image, type Snapshot, snapshotLabel, takeCensus } from "../image/index.ts";
import { explained } from "./explained-findings.ts";
import type { ReadableSnapshots } from "./readable-snapshots.ts";
import type { RepairOptions } from "./repair-options.ts";

/** Each census reads all tables again: where this many do not tell, nobody can be told which snapshots it is. */
const MAX_CENSUSES = 64;

/**
 * Those of the snapshots whose tables contradict themselves, or the active layer
 * and the structures of the image. Undefined when these contradict themselves
 * without any snapshot, when two snapshots contradict each other, of which either
 * may be right, and when there are too many to find out.
 */
export async function contradictorySnapshots(
  image: Image,
  snapshots: readonly Snapshot[],
  options: RepairOptions,
): Promise<ReadableSnapshots["damaged"] | undefined> {
  const found: { snapshot: Snapshot; why: string }[] = [];
  let left = MAX_CENSUSES;
  const findingsWith = async (some: readonly Snapshot[]): Promise<readonly string[]> => {
    left -= 1;
    const part: Image = { ...image, snapshotTable: { ...image.snapshotTable, snapshots: some } };
    return (await takeCensus(part, options)).findings;
  };
  /** False when it cannot be told. */
  const search = async (some: readonly Snapshot[]): Promise<boolean> => {
    const [first, ...others] = some;
    if (first === undefined) return true;
    if (left === 0) return false;
    const findings = await findingsWith(some);
    if (findings.length === 0) return true;
    if (others.length === 0) {
      const why = await explained(image, findings[0] ?? "");
      found.push({ snapshot: first, why: `${snapshotLabel(first)}: ${why}` });
      return true;
    }
    const middle = Math.ceil(some.length / 2);
    return (await search(some.slice(0, middle))) && search(some.slice(middle));
  };
  if ((await findingsWith([])).length > 0 || !(await search(snapshots))) return undefined;
  const isFound = new Set(found.map(({ snapshot }) => snapshot));
  const rest = snapshots.filter((snapshot) => !isFound.has(snapshot));
  return found.length > 0 && (await findingsWith(rest)).length === 0 ? found : undefined;
}
