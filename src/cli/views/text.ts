import { relative } from "node:path";

/** A name from an image or a record, made safe for a terminal: control characters are shown, not obeyed. */
export function printable(text: string): string {
  // Most names are these, and to compile what follows takes a command as long as to print.
  if (/^[ -~]*$/.test(text)) return text;
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return `\\u{${code.toString(16)}}`;
  });
}

/** As a person in this directory would write it. */
export function shownPath(path: string, base = process.cwd()): string {
  const short = relative(base, path);
  return printable(short.startsWith("..") ? path : short);
}

export const quoted = (name: string): string => `"${printable(name)}"`;

/** Longer names are no qemu's. */
const MAX_NAME_LENGTH = 255;

/** The same, of which what is too long for a line is left out and marked behind the quotes, where no name reaches. */
export const shortQuoted = (name: string): string =>
  name.length <= MAX_NAME_LENGTH
    ? quoted(name)
    : `${quoted(name.slice(0, MAX_NAME_LENGTH).toWellFormed())}… (${grouped(name.length)} characters)`;

/** A whole number with commas between thousands. Node's own way loads the rules of all languages, 10 ms of a command. */
export const grouped = (count: number): string => String(count).replaceAll(/\B(?=(?:\d{3})+$)/g, ",");

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${grouped(count)} ${count === 1 ? one : many}`;
}

const UNITS = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/** Bytes with three significant digits, as QEMU prints them: the next unit begins at 1000. */
export function bytes(count: number): string {
  let unit = 0;
  while (count / 1024 ** unit >= 1000 && unit < UNITS.length - 1) unit += 1;
  return `${Number((count / 1024 ** unit).toPrecision(3))} ${UNITS[unit]}B`;
}

const two = (value: number): string => String(value).padStart(2, "0");

/** Local time, as every other tool at a shell shows it. */
export function localTime(milliseconds: number): string {
  const date = new Date(milliseconds);
  const day = [String(date.getFullYear()).padStart(4, "0"), two(date.getMonth() + 1), two(date.getDate())];
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two);
  return `${day.join("-")} ${time.join(":")}`;
}

/** A longer cell pushes the rest of its row aside: a damaged image may have thousands of names, one of them of 64 KiB. */
const MAX_WIDTH = 256;

/** Columns as wide as their widest cell; the last one is not padded. */
export function table(rows: readonly (readonly string[])[]): string {
  return [...tableLines(() => rows)].join("\n");
}

/** The same line by line, of rows that are made twice: the first time to see how wide they are. */
export function* tableLines(rows: () => Iterable<readonly string[]>): Generator<string> {
  const widths: number[] = [];
  for (const row of rows()) {
    for (const [column, { length }] of row.entries()) {
      widths[column] = Math.max(widths[column] ?? 0, Math.min(length, MAX_WIDTH));
    }
  }
  for (const row of rows()) {
    yield row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  }
}
