/** A broken invariant is a bug of ours: it stops the operation before it writes. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`qcowal: internal error, please report it: ${message}`);
}
