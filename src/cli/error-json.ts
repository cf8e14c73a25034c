import type { QcowalError } from "../index.ts";

/** An error as data: the code is stable, the message is for people. */
export function errorJson({ code, message, details }: QcowalError): unknown {
  return { code, message, details };
}
