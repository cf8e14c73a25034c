import { Option } from "commander";
import type { Moment } from "../index.ts";
import { parseTime } from "./moment.ts";

/** `--as-of`: a number is a transaction, anything else a time. */
export const asOfOption = (what: string): Option =>
  new Option("--as-of <when>", `${what} at a time, or after a transaction (its number)`).argParser(
    parseMoment,
  );

function parseMoment(text: string): Moment {
  return /^\d{1,15}$/.test(text) ? { transaction: Number(text) } : { time: parseTime(text) };
}
