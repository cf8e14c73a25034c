/** Snapshots in QEMU's own words: what scripts that read qemu-img's output expect. */
import type { Lineage, SnapshotInfo } from "../../index.ts";
import { bytes, localTime } from "./text.ts";

const NSEC = 1_000_000_000n;

/** The fields and names of `snapshots` in `qemu-img info --output=json`. */
export function* qemuJson(snapshots: readonly Recorded[], lineage?: readonly Lineage[]): Generator<object> {
  for (const [index, snapshot] of snapshots.entries()) yield snapshotJson(snapshot, lineage?.[index]);
}

/** Of a snapshot that only the record knows, it may know less. */
type Recorded = { readonly [Field in keyof SnapshotInfo]?: SnapshotInfo[Field] | undefined };

/** What is undefined is left out. */
function snapshotJson(snapshot: Recorded, known: Lineage | undefined): object {
  const { vmClockNsec: clockNsec, icount } = snapshot;
  return {
    id: snapshot.id,
    name: snapshot.name,
    "vm-state-size": snapshot.vmStateSize,
    "date-sec": snapshot.dateSec,
    "date-nsec": snapshot.dateNsec,
    "vm-clock-sec": clockNsec === undefined ? undefined : clockNsec / NSEC,
    "vm-clock-nsec": clockNsec === undefined ? undefined : clockNsec % NSEC,
    icount: icount === undefined ? undefined : BigInt.asIntN(64, icount),
    parent: known?.parent,
    current: known?.isCurrent === true ? true : undefined,
    holds: known === undefined || known.holds.length === 0 ? undefined : known.holds,
    auto: known?.isAutomatic === true ? true : undefined,
  };
}

/** C's printf counts bytes, so a name beyond ASCII is padded by its UTF-8 length. */
function padEnd(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - Buffer.byteLength(text)));
}

function line(cells: readonly [string, string, string, string, string, string]): string {
  const [id, tag, size, date, clock, icount] = cells;
  const right = [size.padStart(8), date.padStart(20), clock.padStart(13), icount.padStart(11)];
  return `${padEnd(id, 9)} ${padEnd(tag, 16)} ${right.join("")}`;
}

function clock(nanoseconds: bigint): string {
  const seconds = nanoseconds / NSEC;
  const part = (value: bigint, width: number): string => String(value).padStart(width, "0");
  const milliseconds = (nanoseconds / 1_000_000n) % 1000n;
  return `${part(seconds / 3600n, 2)}:${part((seconds / 60n) % 60n, 2)}:${part(seconds % 60n, 2)}.${part(milliseconds, 3)}`;
}

/** C's %.3g has no other way to write what rounds up to four digits. */
const size = (count: number): string => bytes(count).replace(/^1000 /, "1e+03 ");

/** The lines of `qemu-img snapshot -l`, byte for byte (7.2); nothing at all without snapshots. */
export function* qemuList(snapshots: readonly SnapshotInfo[]): Generator<string> {
  if (snapshots.length === 0) return;
  yield "Snapshot list:";
  yield line(["ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT"]);
  for (const snapshot of snapshots) {
    yield line([
      snapshot.id,
      snapshot.name,
      size(snapshot.vmStateSize),
      localTime(snapshot.dateSec * 1000),
      clock(snapshot.vmClockNsec),
      snapshot.icount === undefined ? "" : String(BigInt.asIntN(64, snapshot.icount)),
    ]);
  }
}
