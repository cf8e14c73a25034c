/** Results in the order of `items`, while the next ones are under way. At most `most` are held. */
export async function* readAhead<Item, Result>(
  items: AsyncIterable<Item> | Iterable<Item>,
  most: number,
  read: (item: Item) => Promise<Result>,
): AsyncGenerator<Result> {
  const underWay: Promise<Result>[] = [];
  try {
    for await (const item of items) {
      const result = read(item);
      // It is awaited in its turn; until then a failure is not unhandled.
      result.catch(() => undefined);
      underWay.push(result);
      const first = underWay.length < most ? undefined : underWay.shift();
      if (first !== undefined) yield await first;
    }
    for (let first = underWay.shift(); first !== undefined; first = underWay.shift()) yield await first;
  } finally {
    // A caller that leaves early may close the disk next.
    await Promise.allSettled(underWay);
  }
}
