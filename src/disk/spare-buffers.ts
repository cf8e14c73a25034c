/** As many as are written side by side. */
const MAX_SPARE = 8;
/** What a cluster has mostly; shorter ones are parts of it. */
const COMMON_BYTES = 64 * 1024;

/** Left to the garbage collector, hundreds would pile up before it comes. */
const spare: Buffer[] = [];

/** A buffer for what is read or written at once, with anything in it. */
export function takeSpare(length: number): Buffer {
  // Few sizes, so that one fits the next.
  const capacity = Math.max(2 ** Math.ceil(Math.log2(Math.max(length, 1))), COMMON_BYTES);
  const found = spare.findIndex((buffer) => buffer.length === capacity);
  const [whole = Buffer.allocUnsafeSlow(capacity)] = found < 0 ? [] : spare.splice(found, 1);
  return whole.subarray(0, length);
}

/** After a failure nobody knows who still reads from it: then it is not given back. */
export function giveSpare({ buffer }: Buffer): void {
  if (spare.length === MAX_SPARE) spare.shift();
  spare.push(Buffer.from(buffer));
}
