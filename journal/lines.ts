/** A line of a stream. Numbers begin with 1. */
export interface Line {
  readonly number: number;
  readonly text: string;
}

/** Why a stream has no more lines. */
export class LineError extends Error {
  override readonly name = "LineError";
  readonly line: number;

  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

const NEWLINE = 10;

/**
 * The lines of a stream of UTF-8, one at a time; the last one may lack its end.
 * @throws LineError for one of more than `limit` bytes, and for what is not UTF-8
 */
export async function* linesOf(source: AsyncIterable<Uint8Array>, limit: number): AsyncGenerator<Line> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let number = 1;
  let length = 0;
  let pieces: Uint8Array[] = [];
  const add = (piece: Uint8Array): void => {
    length += piece.length;
    if (length > limit) throw new LineError(number, `it has more than ${limit} bytes`);
    pieces.push(piece);
  };
  const take = (): Line => {
    try {
      return { number, text: decoder.decode(Buffer.concat(pieces)) };
    } catch {
      throw new LineError(number, "it is not UTF-8");
    }
  };
  for await (const chunk of source) {
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      add(chunk.subarray(from, end));
      yield take();
      number += 1;
      length = 0;
      pieces = [];
      from = end + 1;
    }
    if (from < chunk.length) add(chunk.subarray(from));
  }
  if (length > 0) yield take();
}
