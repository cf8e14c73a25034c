/** What a caller asks of one image. Plain data: it is validated, planned, logged and shown as it is. */
export type Operation = CreateOperation | RevertOperation | DeleteOperation;

export interface CreateOperation {
  readonly type: "create";
  /** Path of the image. */
  readonly image: string;
  /** At most 255 bytes of UTF-8. */
  readonly name: string;
  /** Allow an empty name, or one that a snapshot has already. */
  readonly force?: boolean;
}

/** Makes the active layer equal to a snapshot; what was written since is gone. */
export interface RevertOperation extends SnapshotSelection {
  readonly type: "revert";
  readonly image: string;
}

export interface DeleteOperation extends SnapshotSelection {
  readonly type: "delete";
  readonly image: string;
}

/**
 * Which snapshot: exactly one of `id` and `name`. `lookup` says how a name is
 * read: `unique` (the default) refuses a name that several snapshots have;
 * `first` takes the first of them, as `qemu-img snapshot -d`; `id-then-name`
 * looks through the ids first, as `qemu-img snapshot -a`.
 */
export interface SnapshotSelection {
  readonly name?: string;
  readonly id?: string;
  readonly lookup?: "unique" | "first" | "id-then-name";
}

/** What an operation did, or will do: enough to report it without the image. */
export interface OperationOutcome {
  readonly type: Operation["type"];
  readonly snapshot: { readonly id: string; readonly name: string };
  /** Virtual size of the disk before and after, where a revert changed it. */
  readonly resized?: { readonly from: number; readonly to: number };
}

function wrong(what: string): never {
  throw new TypeError(`operation: ${what}`);
}

/**
 * Checks the shape of an operation that came from outside.
 * @throws TypeError naming the field
 */
export function assertOperation(value: unknown): asserts value is Operation {
  if (typeof value !== "object" || value === null) throw new TypeError("an operation must be an object");
  const { type, image, name, id, lookup, force, ...rest } = value as Record<string, unknown>;
  if (type !== "create" && type !== "revert" && type !== "delete") {
    wrong(`unknown type ${JSON.stringify(type)}; known are create, revert, delete`);
  }
  const unknown = Object.keys(rest);
  if (unknown.length > 0) wrong(`unknown field ${JSON.stringify(unknown[0])}`);
  if (typeof image !== "string" || image === "") wrong("'image' must be a path");
  if (name !== undefined && typeof name !== "string") wrong("'name' must be a string");
  if (type === "create") {
    if (name === undefined) wrong("create needs a 'name'");
    if (id !== undefined || lookup !== undefined) wrong("create takes neither 'id' nor 'lookup'");
    if (force !== undefined && typeof force !== "boolean") wrong("'force' must be true or false");
    return;
  }
  if (force !== undefined) wrong("'force' belongs to create");
  if (id !== undefined && typeof id !== "string") wrong("'id' must be a string");
  if ((id === undefined) === (name === undefined)) wrong(`${type} needs either a 'name' or an 'id'`);
  if (lookup !== undefined && lookup !== "unique" && lookup !== "first" && lookup !== "id-then-name") {
    wrong("'lookup' must be unique, first or id-then-name");
  }
  if (lookup !== undefined && name === undefined) wrong("'lookup' goes with 'name'");
}
