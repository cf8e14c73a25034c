import type { View } from "./view.ts";

/**
 * Where there is something to read: offsets of windows of the disk, in order. What is said to be zeros is left out.
 * @throws QcowalError ABORTED, also while it passes over what is left out
 */
export async function* contentWindows(
  view: View,
  windowBytes: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<number> {
  let next = 0;
  const extents = view.extents(0, view.size, signal === undefined ? {} : { signal });
  for await (const { offset, length, kind } of extents) {
    if (kind === "hole" || kind === "zero") continue;
    next = Math.max(next, Math.floor(offset / windowBytes) * windowBytes);
    for (; next < offset + length; next += windowBytes) yield next;
  }
}
