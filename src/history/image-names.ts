import type { HistoryEntry, HistoryImage } from "./entry.ts";

/** A path that an image had, from one entry up to another, both included. */
interface Name {
  readonly path: string;
  from: number;
  readonly to: number;
}

/**
 * Finds an image in entries of its timeline. Those from before it was moved know
 * it under another path, which may have become another image's since; and what
 * its path was before it came there is another image's too.
 */
export function imageIn(
  entries: readonly HistoryEntry[],
  image: string,
): (entry: HistoryEntry) => HistoryImage | undefined {
  const comings = entries.flatMap(({ transaction, images }) =>
    images.flatMap(({ image: path, observed }) =>
      observed?.from !== undefined && (observed.what === "moved" || observed.what === "linked")
        ? [{ transaction, path, from: observed.from, isLink: observed.what === "linked" }]
        : [],
    ),
  );
  const names: Name[] = [{ path: image, from: 0, to: Infinity }];
  const add = (path: string, to: number): void => {
    if (!names.some((name) => name.path === path)) names.push({ path, from: 0, to });
  };
  for (const name of names) {
    const here = comings.filter(({ path, transaction }) => path === name.path && isWithin(name, transaction));
    const moved = here.findLast(({ isLink }) => !isLink);
    if (moved !== undefined) {
      name.from = moved.transaction;
      add(moved.from, moved.transaction - 1);
    }
    for (const { isLink, transaction, from } of here)
      if (isLink && transaction >= name.from) add(from, Infinity);
  }
  return ({ transaction, images }) =>
    images.find(({ image: path }) => names.some((name) => name.path === path && isWithin(name, transaction)));
}

const isWithin = ({ from, to }: Name, transaction: number): boolean =>
  from <= transaction && transaction <= to;
