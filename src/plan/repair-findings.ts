/** What a repair has to say of what it finds, mends, leaves and refuses. */
import { QcowalError } from "../errors/index.ts";
import type { Header, RescuedSnapshots } from "../format/index.ts";
import { type Snapshot, snapshotLabel } from "../image/index.ts";
import type { DifferenceTotals } from "./difference-totals.ts";
import type { ReadableSnapshots } from "./readable-snapshots.ts";

type DamagedSnapshots = ReadableSnapshots["damaged"];

const GIVE_UP = "'qcowal repair --drop-damaged-snapshots'";

const some = (count: number, one: string, many: string): string => `${count} ${count === 1 ? one : many}`;
const entries = (count: number): string => some(count, "entry", "entries");

/** More findings of a kind say no more, and have to fit a record of the journal. */
export const MAX_FINDINGS = 10;

function firstOf(all: readonly string[], more: (count: number) => string): string[] {
  const some = all.slice(0, MAX_FINDINGS);
  return all.length > some.length ? [...some, more(all.length - some.length)] : some;
}

export const damaged = (snapshots: DamagedSnapshots): string[] =>
  firstOf(
    snapshots.map(({ why }) => why),
    (count) => `${count} more snapshots that cannot be read`,
  );

/** What is wrong with slots and blocks of the refcount table: the first of it, and how much there is. */
export function refcountBlocks(findings: readonly string[], wrong: number): string[] {
  const first = findings.slice(0, MAX_FINDINGS);
  return wrong > first.length ? [...first, `${wrong - first.length} more of the kind`] : first;
}

/** What is wrong with the snapshot table as a whole. */
export function limits(table: RescuedSnapshots & { readonly pointer: string | undefined }): string[] {
  const { cut, lost, lostBehind, empty, pointer } = table;
  const where =
    lostBehind === "limits"
      ? "where QEMU does not read"
      : "behind the end of the file, or in the place of something else";
  return [
    ...(pointer === undefined ? [] : [pointer]),
    ...(cut === 0 ? [] : [`${entries(cut)} of the snapshot table with more extra data than QEMU reads`]),
    ...(lost === 0 || pointer !== undefined ? [] : [`${entries(lost)} of the snapshot table ${where}`]),
    ...(lost === 0 || pointer === undefined
      ? []
      : [`no table was found for the ${some(lost, "snapshot", "snapshots")} that the header counts`]),
    ...(empty === 0
      ? []
      : [`a number of snapshots in the header of which ${some(empty, "is", "are")} not there`]),
  ];
}

export function incomplete(snapshots: readonly Snapshot[]): string[] {
  return firstOf(
    snapshots.map((snapshot) => `the entry of ${snapshotLabel(snapshot)} is incomplete`),
    (count) => `${count} more incomplete entries`,
  );
}

export function zeros({
  count,
  firstTable,
}: {
  readonly count: number;
  readonly firstTable: number;
}): string[] {
  if (count === 0) return [];
  const many = some(count, "entry that reads as zeros keeps", "entries that read as zeros keep");
  return [`${many} a cluster at an odd place, the first in the L2 table at 0x${firstTable.toString(16)}`];
}

/** So many flags, the first of them in a table; undefined without any. */
export function flags(count: number, first: number | undefined): string[] {
  if (first === undefined) return [];
  const many = some(count, "COPIED flag of the active layer is", "COPIED flags of the active layer are");
  return [`${many} wrong, the first in the table at 0x${first.toString(16)}`];
}

export function streamFlags(cleared: { readonly flags: number; readonly first: number }): string[] {
  if (cleared.flags === 0) return [];
  const many = some(
    cleared.flags,
    "COPIED flag of compressed data is",
    "COPIED flags of compressed data are",
  );
  return [`${many} set in tables of snapshots, the first in the table at 0x${cleared.first.toString(16)}`];
}

export const stays = (snapshots: DamagedSnapshots): string[] =>
  firstOf(
    snapshots.map(({ why }) => `${why}. It stays; ${GIVE_UP} gives it up`),
    (count) => `${count} more snapshots that cannot be read. They stay; ${GIVE_UP} gives them up`,
  );

export function leftRefcounts(
  { tooHigh, tooLow }: DifferenceTotals["left"],
  scope: { readonly stays: DamagedSnapshots },
): string[] {
  const reason =
    scope.stays.length > 0
      ? "what looks leaked may belong to a snapshot that cannot be read"
      : "what looks leaked may be meant by what is left";
  return [
    ...(tooHigh === 0
      ? []
      : [`${some(tooHigh, "refcount that is", "refcounts that are")} too high: ${reason}`]),
    ...(tooLow === 0 ? [] : [some(tooLow, "refcount that is too low", "refcounts that are too low")]),
  ];
}

export function leftFlags(unset: number): string[] {
  if (unset === 0) return [];
  return [`${some(unset, "COPIED flag", "COPIED flags")} not set: such a snapshot may share the cluster`];
}

/** The marks that stay: what else is left is the reason. */
export function leftMarks({ dirty, corrupt }: Header, notDirty: boolean, notCorrupt: boolean): string[] {
  return [
    ...(dirty && !notDirty ? ["the dirty bit, because of that"] : []),
    ...(corrupt && !notCorrupt ? ["the corrupt bit, because of that"] : []),
  ];
}

/** Clusters of a snapshot that cannot be counted look leaked; freeing them would be the end of it. */
export function refusal(path: string, findings: readonly string[], snapshots: DamagedSnapshots): QcowalError {
  return new QcowalError(
    "IMAGE_DAMAGED",
    `${path}: ${findings.join("; ")}. What only such a snapshot refers to cannot be told from leaks. Nothing was changed; restore the image from a copy, or give up what cannot be read (${GIVE_UP}).`,
    {
      details: { path, findings, snapshots: snapshots.map(({ snapshot: { id, name } }) => ({ id, name })) },
    },
  );
}

/** What a refusal of a reader says, without the image and what was not changed, which are said once. */
export function bare(path: string, message: string): string {
  const what = message.replace(/\. Nothing was changed.*$/s, "");
  return what.startsWith(`${path}: `) ? what.slice(path.length + 2) : what;
}

/** Where tables contradict themselves, nobody knows what they should be. */
export function irreparable(path: string, findings: readonly string[], cause?: unknown): QcowalError {
  return new QcowalError(
    "IMAGE_DAMAGED",
    `${path} shows damage that a repair cannot mend: ${findings.join("; ")}. Nothing was changed; restore the image from a copy, or save what can still be read ('qemu-img convert').`,
    { cause, details: { path, findings } },
  );
}

export function moreThanLeaks(path: string, findings: readonly string[]): QcowalError {
  return new QcowalError(
    "IMAGE_DAMAGED",
    `${path} has more than leaks: ${findings.join("; ")}. Nothing was changed; 'qcowal repair' mends that too.`,
    { details: { path, findings } },
  );
}
