import type { RescuedSnapshots } from "../format/index.ts";
import type { Image, Snapshot } from "../image/index.ts";
import type { RepairOperation } from "./operation.ts";
import type { ReadableSnapshots } from "./readable-snapshots.ts";
import { damaged, limits, moreThanLeaks, refusal } from "./repair-findings.ts";

const NOTHING: RescuedSnapshots = { cut: 0, lost: 0, lostBehind: "limits", empty: 0 };

type DamagedSnapshot = ReadableSnapshots["damaged"][number];

/** How far a repair may go. */
export interface RepairScope {
  /** False for leaks only. */
  readonly isAll: boolean;
  /** The snapshots that are in the table afterwards. */
  readonly kept: readonly Snapshot[];
  /** Those of them that cannot be read: what looks leaked may be theirs. */
  readonly stays: readonly DamagedSnapshot[];
  /** Snapshots that are given up. */
  readonly dropped: readonly DamagedSnapshot[];
  /** Entries that lose extra data, and entries that are lost. */
  readonly cut: number;
  readonly lost: number;
  /** The header counts snapshots, and their table is nowhere: there may never have been any. */
  readonly isVoid: boolean;
  /** What is wrong with the table as a whole, in words. */
  readonly limits: readonly string[];
  /** The table was read in a way that only refcounts can confirm: nothing may be freed because of it. */
  readonly isDoubtful: boolean;
  /** The header does not say where the table is, or how many entries it has. */
  readonly isPointerWrong: boolean;
}

/** @throws QcowalError IMAGE_DAMAGED for a snapshot table that nobody has allowed to cut */
export function repairScope(
  { disk, header, snapshotTable }: Image,
  { damaged: unreadable }: ReadableSnapshots,
  { what, dropDamagedSnapshots }: RepairOperation,
): RepairScope {
  const isDropping = dropDamagedSnapshots === true;
  const { cut, lost, lostBehind, empty } = snapshotTable.rescued ?? NOTHING;
  const pointer = header.rescued?.snapshotTable;
  const isVoid = pointer !== undefined && lost > 0;
  const wrong = limits({ cut, lost, lostBehind, empty, pointer });
  const isAll = what !== "leaks";
  if (!isAll && wrong.length > 0) throw moreThanLeaks(disk.path, wrong);
  // Behind an entry that was read wrongly, all others are.
  const isDoubtful = cut + empty > 0 || pointer !== undefined;
  if (!isDropping && ((lost > 0 && !isVoid) || (isDoubtful && unreadable.length > 0))) {
    throw refusal(disk.path, [...wrong, ...damaged(unreadable)], unreadable);
  }
  const gone = new Set(isDropping ? unreadable.map(({ snapshot }) => snapshot) : []);
  return {
    isAll,
    kept: snapshotTable.snapshots.filter((snapshot) => !gone.has(snapshot)),
    stays: isDropping ? [] : unreadable,
    dropped: isDropping ? unreadable : [],
    cut,
    lost,
    isVoid,
    limits: wrong,
    isDoubtful: isDoubtful && !isDropping,
    isPointerWrong: empty > 0 || pointer !== undefined,
  };
}
