/** A list that may be made while it is printed. */
const isList = (value: object): value is Iterable<unknown> =>
  Array.isArray(value) || ("next" in value && Symbol.iterator in value);

/** Each item, with what stands between it and the next. */
function* separated<Item>(items: Iterable<Item>): Generator<readonly [item: Item, separator: "," | ""]> {
  let before: { readonly item: Item } | undefined;
  for (const item of items) {
    if (before !== undefined) yield [before.item, ","];
    before = { item };
  }
  if (before !== undefined) yield [before.item, ""];
}

type Part = readonly [key: string | undefined, item: unknown];

function* partsOf(value: object): Generator<Part> {
  if (isList(value)) for (const item of value) yield [undefined, item];
  else for (const [key, item] of Object.entries(value)) if (item !== undefined) yield [key, item];
}

/** Behind `head` and before `tail`, which are parts of the first and the last line. */
function* linesOf(value: unknown, indent: string, head: string, tail: string): Generator<string> {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) {
    yield `${indent}${head}${leaf(value)}${tail}`;
    return;
  }
  const [open, close] = isList(value) ? "[]" : "{}";
  let isEmpty = true;
  const inner = `${indent}  `;
  for (const [[key, item], separator] of separated(partsOf(value))) {
    if (isEmpty) yield `${indent}${head}${open}`;
    isEmpty = false;
    yield* linesOf(item, inner, key === undefined ? "" : `${JSON.stringify(key)}: `, separator);
  }
  yield isEmpty ? `${indent}${head}${open}${close}${tail}` : `${indent}${close}${tail}`;
}

function leaf(value: unknown): string {
  if (typeof value === "bigint") return String(value);
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString("hex"));
  return JSON.stringify(value ?? null);
}

/**
 * JSON as the command prints it, in lines: the whole may be longer than what
 * should be held. A bigint becomes a plain number with all its digits, as QEMU
 * writes its 64-bit fields; bytes become hexadecimal text, and what an iterator
 * brings a list.
 */
export const jsonLines = (value: unknown): Generator<string> => linesOf(value, "", "", "");

/** The same as one text. */
export const toJson = (value: unknown): string => [...jsonLines(value)].join("\n");

/** The same on one line, for what is read line by line. */
export const toJsonLine = (value: unknown): string =>
  Array.from(jsonLines(value), (line) => line.trimStart()).join("");
