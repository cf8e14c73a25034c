import type { Census, RefcountWindows, Refcounts } from "../image/index.ts";

/** What is held beside each stored refcount: a byte for its references, and the change of some of them. */
export const BYTES_PER_COUNT = 3;

/** The stored refcounts from a block on, as far as the census holds the references too. */
export async function countedWindow(
  census: Census,
  windows: RefcountWindows,
  first: number,
): Promise<Refcounts> {
  const stored = await windows.holding(first);
  const { window } = census;
  if (first < window.first || first >= window.end) await census.begin({ first, end: stored.end });
  return stored.part({ first, end: Math.min(stored.end, census.window.end) });
}
