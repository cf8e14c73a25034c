import { styleText } from "node:util";

type Style = "dim" | "bold" | "red" | "green" | "yellow" | "cyan";
export type Paint = (style: Style, text: string) => string;

/** Colours only where a person reads, and none where they asked for none (https://no-color.org). */
export function paintFor(stream: { readonly isTTY?: boolean }): Paint {
  const isWanted = stream.isTTY === true && !process.env["NO_COLOR"] && process.env["TERM"] !== "dumb";
  return isWanted ? (style, text) => styleText(style, text) : (_, text) => text;
}
