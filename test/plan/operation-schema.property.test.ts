import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { expect, test } from "vitest";
import { OPERATIONS_SCHEMA, operationsDocument } from "../../src/plan/index.ts";

const validate = new Ajv2020({ strict: true, strictRequired: false, strictTypes: false }).compile(
  OPERATIONS_SCHEMA,
);

function isAccepted(value: unknown): boolean {
  try {
    operationsDocument(value);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(TypeError);
    return false;
  }
}

const agree = (value: unknown): boolean => {
  const accepted = isAccepted(value);
  expect(validate(value), JSON.stringify([value, validate.errors])).toBe(accepted);
  return accepted;
};

const base = { image: "a.qcow2" };

test.each<[boolean, unknown]>([
  [true, { type: "create", ...base, name: "" }],
  [true, { type: "create", ...base, name: "x", force: true }],
  [false, { type: "create", ...base }],
  [false, { type: "create", ...base, name: "x", id: "1" }],
  [false, { type: "create", ...base, name: "x", keep: "y" }],
  [false, { type: "create", image: "", name: "x" }],
  [true, { type: "revert", ...base, id: "1", keep: "before", dropBitmaps: false }],
  [true, { type: "revert", ...base, name: "1", lookup: "id-then-name" }],
  [false, { type: "revert", ...base, id: "1", lookup: "first" }],
  [false, { type: "revert", ...base, id: "1", name: "x" }],
  [false, { type: "revert", ...base, id: "1", keep: true }],
  [true, { type: "delete", ...base, name: "x", recoverableFor: 1 }],
  [false, { type: "delete", ...base, name: "x", recoverableFor: 0 }],
  [false, { type: "delete", ...base, name: "x", recoverableFor: 1.5 }],
  [false, { type: "delete", ...base, name: "x", recoverableFor: 1e300 }],
  [false, { type: "delete", ...base, name: "x", to: "y" }],
  [true, { type: "rename", ...base, name: "x", to: "" }],
  [false, { type: "rename", ...base, name: "x" }],
  [true, { type: "repair", ...base, what: "leaks", harden: true, dropDamagedSnapshots: false }],
  [false, { type: "repair", ...base, what: "leaks", dropDamagedSnapshots: true }],
  [true, { type: "repair", ...base, dropDamagedSnapshots: true, evenIfHeld: true }],
  [false, { type: "repair", ...base, evenIfHeld: false }],
  [false, { type: "repair", ...base, name: "x" }],
  [false, { ...base, name: "x" }],
  [false, { type: "explode", ...base }],
  [false, []],
  [false, null],
])("schema and reader agree, and say %s of %j", (isValid, operation) => {
  expect(agree([operation])).toBe(isValid);
});

test.each<[boolean, unknown]>([
  [true, { operations: [{ type: "create", ...base, name: "x" }], reason: "" }],
  [false, { operations: [{ type: "create", ...base, name: "x" }], reason: 1 }],
  [false, { operations: [{ type: "create", ...base, name: "x" }], because: "x" }],
  [false, { operations: [] }],
  [false, { operations: {} }],
  [false, {}],
  [false, "create"],
  [false, 7],
])("schema and reader agree, and say %s of the document %j", (isValid, document) => {
  expect(agree(document)).toBe(isValid);
});

const FIELDS = {
  type: fc.constantFrom("create", "revert", "delete", "rename", "repair", "run"),
  image: fc.constantFrom("a", "b", "c", "d", ""),
  name: fc.constantFrom<unknown>("x", "", 1),
  id: fc.constantFrom<unknown>("1", 1),
  lookup: fc.constantFrom<unknown>("unique", "first", "id-then-name", "last"),
  force: fc.constantFrom<unknown>(true, false, "yes"),
  auto: fc.constantFrom<unknown>(true, false),
  evenIfHeld: fc.constantFrom<unknown>(true, false),
  dropBitmaps: fc.constantFrom<unknown>(true, 0),
  keep: fc.constantFrom<unknown>("k", null),
  recoverableFor: fc.constantFrom<unknown>(1, 1e15, -1, "7d"),
  to: fc.constantFrom<unknown>("y", {}),
  what: fc.constantFrom<unknown>("leaks", "all", "some"),
  harden: fc.constantFrom<unknown>(true, null),
  dropDamagedSnapshots: fc.constantFrom<unknown>(true, false, 2),
  colour: fc.constant("red"),
};

/** Mostly few fields: of many at once hardly any object is an operation. */
const operation = fc
  .tuple(fc.subarray(Object.keys(FIELDS) as (keyof typeof FIELDS)[], { maxLength: 3 }), fc.record(FIELDS))
  .map(([keys, values]) =>
    Object.fromEntries(["type" as const, "image" as const, ...keys].map((key) => [key, values[key]])),
  );

test("schema and reader agree on anything", () => {
  let accepted = 0;
  fc.assert(
    fc.property(fc.array(operation, { minLength: 1, maxLength: 2 }), (operations) => {
      if (agree(operations)) accepted += 1;
    }),
    { numRuns: 4000 },
  );
  expect(accepted).toBeGreaterThan(40);
});
