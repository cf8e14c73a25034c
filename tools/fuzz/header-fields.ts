/** A field of a structure, by its place in the file. */
export interface Place {
  readonly at: number;
  readonly size: 1 | 2 | 4 | 8;
}

const V2_END = 72;

/** The fields of the header behind the magic number, in their order. */
const FIELDS: readonly Place[] = (
  [
    [4, 4],
    [8, 8],
    [16, 4],
    [20, 4],
    [24, 8],
    [32, 4],
    [36, 4],
    [40, 8],
    [48, 8],
    [56, 4],
    [60, 4],
    [64, 8],
    [72, 8],
    [80, 8],
    [88, 8],
    [96, 4],
    [100, 4],
    [104, 1],
  ] as const
).map(([at, size]) => ({ at, size }));

/** Those that a header of this version has. */
export const headerFields = (version: number): readonly Place[] =>
  version === 2 ? FIELDS.filter(({ at }) => at < V2_END) : FIELDS;
