import { QcowalError } from "../../src/errors/index.ts";

/** What a message must not show: it tells a person nothing, and of the code that something was overlooked. */
const NOISE = /\b(NaN|undefined|null|Infinity)\b|\[object|internal error, please|simulated/;
/** A refusal says so. Where an interrupted operation holds the image, it says that this stays so. */
const CHANGED_NOTHING = /Nothing was changed|was not changed|the fence stays|stays? fenced/;

/** What is wrong with an error as a refusal of the image at `path`; undefined when it is one as it should be. */
export function flawOf(error: unknown, path: string): string | undefined {
  if (!(error instanceof QcowalError)) {
    return `not a refusal: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
  }
  const { code, message } = error;
  if (NOISE.test(message)) return `an unclear message: ${code}: ${message}`;
  if (!message.includes(path)) return `the message does not name the image: ${code}: ${message}`;
  if (!CHANGED_NOTHING.test(message)) return `the message leaves open what was changed: ${code}: ${message}`;
  return undefined;
}

/** The same for words that are printed. */
export function assertClear(words: string): void {
  const found = NOISE.exec(words);
  if (found !== null) throw new Error(`unclear words (${found[0]}): ${words.slice(0, 2000)}`);
}
