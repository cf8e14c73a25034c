import { expect } from "vitest";

/**
 * Whether two values are equal bytes, and undefined where a matcher has to look by itself: it
 * compares arrays element by element, which takes a second for a MiB, and it tells what differs.
 */
export function equalAsBytes(a: unknown, b: unknown): true | undefined {
  return a instanceof Uint8Array &&
    b instanceof Uint8Array &&
    a.constructor === b.constructor &&
    Buffer.compare(a, b) === 0
    ? true
    : undefined;
}

expect.addEqualityTesters([equalAsBytes]);
