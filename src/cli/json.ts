import { randomUUID } from "node:crypto";

/**
 * JSON as the command prints it. A bigint becomes a plain number with all its
 * digits, as QEMU writes its 64-bit fields; bytes become hexadecimal text.
 */
export const toJson = (value: unknown): string => encoded(value, 2);

/** The same on one line. */
export const toJsonLine = (value: unknown): string => encoded(value, undefined);

function encoded(value: unknown, indent: number | undefined): string {
  // Marks digits while they are a string. Nobody can put this mark into a snapshot's name.
  const mark = randomUUID();
  // A Buffer turns itself into something else before a replacer sees it, so bytes are looked up in their holder.
  function replacer(this: Record<string, unknown>, key: string, item: unknown): unknown {
    const original = this[key];
    if (original instanceof Uint8Array) return Buffer.from(original).toString("hex");
    return typeof item === "bigint" ? `${mark}${item}` : item;
  }
  return JSON.stringify(value, replacer, indent).replaceAll(new RegExp(`"${mark}(-?\\d+)"`, "g"), "$1");
}
