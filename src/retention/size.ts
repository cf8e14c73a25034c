const UNITS = ["", "K", "M", "G", "T", "P"];

/**
 * Bytes from a number, or from a text with a unit of powers of 1024, as `10G`, `1.5TiB`.
 * @throws TypeError
 */
export function parseSize(value: string | number): number {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([KMGTP])(?:i?B)?|B)?$/i.exec(String(value).trim());
  const size = Number(match?.[1]) * 1024 ** UNITS.indexOf((match?.[2] ?? "").toUpperCase());
  if (match === null || size > Number.MAX_SAFE_INTEGER) {
    throw new TypeError(`policy: ${JSON.stringify(value)} is not a size: write bytes, or 500M, 10G, 1.5T`);
  }
  return Math.floor(size);
}
