/** As long as the largest cluster. */
const ZEROS = Buffer.from(new ArrayBuffer(2 * 1024 * 1024));

/**
 * Zeros that nobody writes to, at least so many bytes. Everybody gets the same ones: where an
 * operation takes milliseconds, what it allocates costs more in garbage collection than in anything else.
 */
export const zeroBuffer = (bytes: number): ArrayBufferLike =>
  bytes <= ZEROS.length ? ZEROS.buffer : new ArrayBuffer(bytes);

/** Whether there is nothing in a piece of a file, of at most a cluster: comparing it costs a tenth of looking at its entries. */
export const isZeros = (bytes: Buffer): boolean => bytes.equals(ZEROS.subarray(0, bytes.length));
