import { expect } from "vitest";

/** The matchers compare arrays element by element, which takes a second for a MiB. What is not equal is left to them to tell. */
expect.addEqualityTesters([
  (a: unknown, b: unknown): boolean | undefined =>
    a instanceof Uint8Array &&
    b instanceof Uint8Array &&
    a.constructor === b.constructor &&
    Buffer.compare(a, b) === 0
      ? true
      : undefined,
]);
