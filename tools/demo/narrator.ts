import { styleText } from "node:util";

const isPlain =
  !process.stdout.isTTY || process.env["NO_COLOR"] !== undefined || process.env["TERM"] === "dumb";

const styled = (style: Parameters<typeof styleText>[0], text: string): string =>
  isPlain ? text : styleText(style, text);

let step = 0;

export function headline(text: string): void {
  step += 1;
  console.log(`\n${styled("bold", `${step}. ${text}`)}`);
}

export const explain = (text: string): void => console.log(`   ${text}`);

export function command(words: string): void {
  console.log(`   ${styled("cyan", `$ ${words}`)}`);
}

export function output(text: string): void {
  for (const line of text.trimEnd().split("\n")) if (line !== "") console.log(`   ${styled("dim", line)}`);
}

export function verdict(isGood: boolean, text: string): void {
  console.log(`   ${isGood ? styled("green", "ok") : styled("red", "WRONG")}  ${text}`);
  if (!isGood) throw new Error(`the demonstration found a fault: ${text}`);
}
