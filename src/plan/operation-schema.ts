/**
 * What `assertOperation` checks, as data that other programs check with: a test
 * holds the two together.
 */
import { MAX_RECOVERABLE_MS } from "./operation.ts";

const path = { type: "string", minLength: 1, description: "Path of the image." };
const text = { type: "string" };
const flag = { type: "boolean" };

const selection = {
  name: { ...text, description: "Name of the snapshot, as it is." },
  id: { ...text, description: "Id of the snapshot; instead of a name." },
  lookup: {
    enum: ["unique", "first", "id-then-name"],
    description: "How a name is read that several snapshots have. Default: unique.",
  },
};

/** Exactly one of `name` and `id`, and `lookup` with a name only. */
const SELECTED = {
  oneOf: [
    { required: ["name"], not: { required: ["id"] } },
    { required: ["id"], not: { anyOf: [{ required: ["name"] }, { required: ["lookup"] }] } },
  ],
};

const operation = (
  type: string,
  description: string,
  properties: Readonly<Record<string, unknown>>,
  more: Readonly<Record<string, unknown>> = {},
  required: readonly string[] = [],
): unknown => ({
  description,
  type: "object",
  properties: { type: { const: type }, image: path, ...properties },
  required: ["type", "image", ...required],
  additionalProperties: false,
  ...more,
});

/** JSON Schema (draft 2020-12) of what `qcowal run` reads: a list of operations, or an object with one. */
export const OPERATIONS_SCHEMA = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Operations of qcowal",
  description: "They are one transaction: after any crash all of them are done, or none.",
  oneOf: [
    { $ref: "#/$defs/operations" },
    {
      type: "object",
      properties: {
        operations: { $ref: "#/$defs/operations" },
        reason: { ...text, description: "Why, for the history." },
      },
      required: ["operations"],
      additionalProperties: false,
    },
  ],
  $defs: {
    operations: { type: "array", minItems: 1, items: { $ref: "#/$defs/operation" } },
    operation: {
      oneOf: [
        { $ref: "#/$defs/create" },
        { $ref: "#/$defs/revert" },
        { $ref: "#/$defs/delete" },
        { $ref: "#/$defs/rename" },
        { $ref: "#/$defs/repair" },
      ],
    },
    create: operation(
      "create",
      "Takes a snapshot of the disk as it is.",
      {
        name: { ...text, description: "At most 255 bytes of UTF-8." },
        auto: { const: true, description: "A schedule takes it: keeping rules may remove it." },
        force: { ...flag, description: "Allow an empty name, or one that a snapshot has already." },
      },
      {},
      ["name"],
    ),
    revert: operation(
      "revert",
      "Makes the disk as it was in a snapshot; what was written since is lost, unless it is kept.",
      {
        ...selection,
        dropBitmaps: { ...flag, description: "Drop persistent bitmaps, which a revert makes wrong." },
        keep: { ...text, description: "Take a snapshot of this name of the disk as it is before." },
      },
      SELECTED,
    ),
    delete: operation(
      "delete",
      "Deletes a snapshot and frees what only it held.",
      {
        ...selection,
        recoverableFor: {
          type: "integer",
          minimum: 1,
          maximum: MAX_RECOVERABLE_MS,
          description:
            "Milliseconds for which the snapshot is kept under a reserved name. Nothing is freed before.",
        },
        evenIfHeld: { const: true, description: "Also a snapshot that somebody holds." },
      },
      SELECTED,
    ),
    rename: operation(
      "rename",
      "Gives a snapshot another name; its id stays.",
      {
        ...selection,
        to: { ...text, description: "The new name, at most 255 bytes of UTF-8." },
        force: { ...flag, description: "Allow an empty name, or one that a snapshot has already." },
      },
      SELECTED,
      ["to"],
    ),
    repair: operation(
      "repair",
      "Mends refcounts and flags; the only operation on its image.",
      {
        what: { enum: ["leaks", "all"] },
        harden: flag,
        dropDamagedSnapshots: flag,
        evenIfHeld: { const: true, description: "Give up snapshots that somebody holds, too." },
      },
      {
        not: {
          properties: { what: { const: "leaks" }, dropDamagedSnapshots: { const: true } },
          required: ["what", "dropDamagedSnapshots"],
        },
      },
    ),
  },
};
