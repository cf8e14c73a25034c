const MIB = 2 ** 20;

export function seconds(value: number): string {
  if (value < 0.1) return `${(value * 1000).toFixed(0)} ms`;
  return `${value.toFixed(value < 10 ? 2 : 1)} s`;
}

export function ratio(value: number): string {
  return `${value.toFixed(value >= 10 ? 0 : value >= 1 ? 1 : 2)}x`;
}

/** A bound where the peer was ended before it was done. */
export const atLeast = (peer: { readonly isCutShort?: boolean }, words: string): string =>
  peer.isCutShort === true ? `> ${words}` : words;

export function bytes(value: number): string {
  if (value < 10 * MIB) return `${(value / 1024).toFixed(0)} KiB`;
  return `${(value / MIB).toFixed(0)} MiB`;
}

export function share(part: number, whole: number): string {
  return whole === 0 ? "–" : `${((part / whole) * 100).toFixed(0)} %`;
}
