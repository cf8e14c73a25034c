import { QcowalError } from "../errors/index.ts";

/** Packs safe integers of any size, small ones in one byte: least significant 7 bits first, high bit for "more". */
export function packNumbers(values: Iterable<number>): Uint8Array {
  let bytes = new Uint8Array(256);
  let length = 0;
  for (let value of values) {
    if (length + 8 > bytes.length) {
      const grown = new Uint8Array(bytes.length * 2);
      grown.set(bytes);
      bytes = grown;
    }
    while (value >= 0x80) {
      bytes[length] = (value % 0x80) + 0x80;
      value = Math.floor(value / 0x80);
      length += 1;
    }
    bytes[length] = value;
    length += 1;
  }
  return bytes.slice(0, length);
}

/** @throws QcowalError JOURNAL_DAMAGED when a number is cut off or not a safe integer */
export function unpackNumbers(bytes: Uint8Array): number[] {
  const values: number[] = [];
  let value = 0;
  let scale = 1;
  for (const byte of bytes) {
    value += (byte & 0x7f) * scale;
    if (!Number.isSafeInteger(value)) throw damaged();
    if (byte >= 0x80) scale *= 0x80;
    else {
      values.push(value);
      value = 0;
      scale = 1;
    }
  }
  if (scale !== 1) throw damaged();
  return values;
}

function damaged(): QcowalError {
  return new QcowalError(
    "JOURNAL_DAMAGED",
    "A packed number in an intent is malformed. Nothing was changed.",
  );
}
