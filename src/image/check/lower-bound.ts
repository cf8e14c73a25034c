/** Index of the first number of an ascending list that is not below `value`. */
export function lowerBound(ordered: ArrayLike<number>, value: number): number {
  let low = 0;
  let high = ordered.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ordered[middle] ?? 0) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
