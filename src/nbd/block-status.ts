import type { MetaContext, Status } from "./meta-contexts.ts";

/** How much of a disk is asked about at once: between two of these the clock is looked at. */
const WINDOW = 256 * 1024 * 1024;

/** How many ranges are looked through for one answer, and how long, before it ends early. */
const MAX_RANGES = 65_536;
const MAX_TIME = 1_000;

/**
 * What a context says of a range, alike neighbours merged. May end early, as the
 * protocol allows, but not before the first byte; the client asks on from there.
 */
export async function blockStatus(
  context: MetaContext,
  offset: number,
  length: number,
  descriptors: number,
): Promise<Status[]> {
  const found: { length: number; flags: number }[] = [];
  const deadline = performance.now() + MAX_TIME;
  let ranges = 0;
  for (let at = offset, end = offset + length; at < end; at += WINDOW) {
    for await (const status of context.status(at, Math.min(WINDOW, end - at))) {
      if (status.length === 0) continue;
      const last = found.at(-1);
      if (last?.flags === status.flags) last.length += status.length;
      else if (found.length === descriptors) return found;
      else found.push({ ...status });
      ranges += 1;
      if (ranges === MAX_RANGES || performance.now() > deadline) return found;
    }
  }
  return found;
}
