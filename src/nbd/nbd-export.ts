import type { GuestDisk } from "../export/index.ts";
import { MAX_STRING } from "./constants.ts";

/** What differs from an earlier state of the same disk. */
export interface ChangedSince {
  /** The earlier state; clients ask for the context `qcowal:changed:<name>`. */
  readonly name: string;
  /** In order and without gaps, from the first byte to the last of the range. */
  ranges(offset: number, length: number): AsyncIterable<ChangedRange>;
}

export interface ChangedRange {
  readonly offset: number;
  readonly length: number;
  readonly changed: boolean;
}

/** A disk that clients can read under a name. The disk stays the caller's, who closes it after the server. */
export interface NbdExport {
  /** At most 4096 bytes; the empty name is what clients take that name none. */
  readonly name: string;
  readonly description?: string;
  readonly disk: GuestDisk;
  readonly changedSince?: readonly ChangedSince[];
  /**
   * What the export is when a client asks for it, which is what that client sees until
   * it leaves: `disk` and `changedSince` may be replaced then. A client whose disk
   * answers IMAGE_CHANGED is told so and dropped.
   */
  readonly now?: () => Promise<Pick<NbdExport, "disk" | "changedSince">>;
}

function checkString(what: string, text: string): void {
  if (typeof text !== "string") throw new TypeError(`${what} has to be a string`);
  if (Buffer.byteLength(text) > MAX_STRING)
    throw new TypeError(`${what} is longer than ${MAX_STRING} bytes: ${text.slice(0, 40)}…`);
  if (text.includes("\0")) throw new TypeError(`${what} has a NUL in it: ${JSON.stringify(text)}`);
}

/** @throws TypeError for names that the protocol cannot carry, or that are not unique */
export function checkExports(exports: readonly NbdExport[]): void {
  if (exports.length === 0) throw new TypeError("there has to be an export to serve");
  const names = new Set<string>();
  for (const { name, description, changedSince = [] } of exports) {
    checkString("the name of an export", name);
    if (description !== undefined) checkString("the description of an export", description);
    if (names.has(name)) throw new TypeError(`two exports have the name ${JSON.stringify(name)}`);
    names.add(name);
    const contexts = new Set<string>();
    for (const since of changedSince) {
      checkString("the context of an export", changedContext(since.name));
      if (contexts.has(since.name))
        throw new TypeError(`${JSON.stringify(name)} has two contexts ${JSON.stringify(since.name)}`);
      contexts.add(since.name);
    }
  }
}

export const changedContext = (name: string): string => `qcowal:changed:${name}`;

/** The export of a name. Who names none gets the only one there is. */
export function findExport(exports: readonly NbdExport[], name: string): NbdExport | undefined {
  return (
    exports.find((candidate) => candidate.name === name) ??
    (name === "" && exports.length === 1 ? exports[0] : undefined)
  );
}
