import { QcowalError } from "../errors/index.ts";
import { MAX_NAME_BYTES } from "../format/index.ts";
import type { Draft } from "./draft.ts";
import { snapshotsNamed } from "./select-snapshot.ts";

const utf8 = new TextEncoder();

/**
 * What a snapshot is to be called. `force` allows an empty name, and one that is taken.
 * @throws QcowalError SNAPSHOT_NAME_INVALID, SNAPSHOT_EXISTS
 */
export function checkName({ snapshots }: Draft, image: string, name: string, force = false): void {
  const bytes = utf8.encode(name);
  const refuse = (what: string): never => {
    throw new QcowalError("SNAPSHOT_NAME_INVALID", `${what}. ${image} was not changed.`);
  };
  if (bytes.length > MAX_NAME_BYTES) {
    refuse(`A snapshot name has at most ${MAX_NAME_BYTES} bytes, this one has ${bytes.length}`);
  }
  if (name.includes("\0")) refuse("A snapshot name cannot contain a NUL byte");
  // A lone surrogate has no UTF-8 form: it would be stored as another name than the one asked for.
  if (!name.isWellFormed()) refuse("A snapshot name must be well-formed Unicode");
  if (name === "" && !force) refuse("A snapshot name cannot be empty");
  if (!force && snapshotsNamed(snapshots, name).length > 0) {
    throw new QcowalError(
      "SNAPSHOT_EXISTS",
      `${image} already has a snapshot ${JSON.stringify(name)}. Nothing was changed; choose another name, or force a second one.`,
    );
  }
}
