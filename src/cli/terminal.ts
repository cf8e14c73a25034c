import { once } from "node:events";

/** Where a command speaks: data on stdout, words on stderr. */
export interface Terminal {
  /** Lines of the answer. */
  readonly data: (text: string) => void;
  /** The same for an answer that may be long: it is written as it is made, and no faster than it is read. */
  readonly lines: (lines: Iterable<string>) => Promise<void>;
  /** What a person may want to know; silent with `--quiet`. */
  readonly say: (text: string) => void;
  /** A line that the next call replaces; only on a terminal. The empty text removes it. */
  readonly status: (text: string) => void;
}

/** Characters that are written at a time. */
const WRITE_LENGTH = 64 * 1024;
const CLEAR_LINE = "\r\u001B[2K";

export function openTerminal(quiet: boolean): Terminal {
  const isLive = process.stderr.isTTY && process.env["TERM"] !== "dumb" && !quiet;
  let shown = false;
  const status = (text: string): void => {
    if (!isLive || (text === "" && !shown)) return;
    shown = text !== "";
    process.stderr.write(CLEAR_LINE + text.slice(0, process.stderr.columns - 1));
  };
  return {
    status,
    data: (text) => {
      status("");
      process.stdout.write(`${text}\n`);
    },
    lines: async (lines) => {
      status("");
      let text = "";
      for (const line of lines) {
        text += `${line}\n`;
        if (text.length < WRITE_LENGTH) continue;
        if (!process.stdout.write(text)) await once(process.stdout, "drain");
        text = "";
      }
      if (text !== "") process.stdout.write(text);
    },
    say: (text) => {
      status("");
      if (!quiet) process.stderr.write(`${text}\n`);
    },
  };
}
