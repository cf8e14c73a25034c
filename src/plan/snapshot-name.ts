import { QcowalError } from "../errors/index.ts";
import { MAX_NAME_BYTES } from "../format/index.ts";
import { parseDeletedName } from "./deleted-name.ts";
import type { Draft } from "./draft.ts";
import { snapshotsNamed } from "./select-snapshot.ts";

const utf8 = new TextEncoder();

function refuse(image: string, what: string): never {
  throw new QcowalError("SNAPSHOT_NAME_INVALID", `${what}. ${image} was not changed.`);
}

/** @throws QcowalError SNAPSHOT_NAME_INVALID */
export function checkLength(image: string, name: string, what = "A snapshot name"): void {
  const { length } = utf8.encode(name);
  if (length > MAX_NAME_BYTES) {
    refuse(image, `${what} has at most ${MAX_NAME_BYTES} bytes, this one has ${length}`);
  }
}

/**
 * What a snapshot is to be called. `force` allows an empty name, and one that is taken.
 * @throws QcowalError SNAPSHOT_NAME_INVALID, SNAPSHOT_EXISTS
 */
export function checkName({ snapshots }: Draft, image: string, name: string, force = false): void {
  checkLength(image, name);
  if (name.includes("\0")) refuse(image, "A snapshot name cannot contain a NUL byte");
  // A lone surrogate has no UTF-8 form: it would be stored as another name than the one asked for.
  if (!name.isWellFormed()) refuse(image, "A snapshot name must be well-formed Unicode");
  if (!force && parseDeletedName(name) !== undefined) {
    refuse(
      image,
      "A name that begins with .deleted/ and a time is that of a snapshot that was deleted recoverably",
    );
  }
  if (name === "" && !force) refuse(image, "A snapshot name cannot be empty");
  if (!force && snapshotsNamed(snapshots, name).length > 0) {
    throw new QcowalError(
      "SNAPSHOT_EXISTS",
      `${image} already has a snapshot ${JSON.stringify(name)}. Nothing was changed; choose another name, or force a second one.`,
    );
  }
}
