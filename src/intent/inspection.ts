import type { Disk } from "../disk/index.ts";
import type { QcowalError } from "../errors/index.ts";

/** Bytes of the image file. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** What the disk shows under an intent. */
export type Inspection =
  | {
      readonly state:
        | "before"
        | "after"
        /** Parts of it before, parts after: a write was torn or some of several were lost. */
        | "torn";
    }
  /** Neither: somebody else wrote in this range, which is as narrow as what is logged allows. */
  | { readonly state: "foreign"; readonly range: ByteRange }
  /** This range cannot be read, so nobody knows what it shows. */
  | { readonly state: "unreadable"; readonly range: ByteRange; readonly cause: QcowalError };

/** All that looking needs of a disk: an inspection cannot write. */
export type Reader = Pick<Disk, "read">;

export function foreign(offset: number, length: number): Inspection {
  return { state: "foreign", range: { offset, length } };
}

/** The state of an intent of which some parts show their state before, some their state after. */
export function mixture(before: boolean, after: boolean): Inspection {
  if (before && after) return { state: "torn" };
  return { state: before ? "before" : "after" };
}
