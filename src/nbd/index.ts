export { NbdClientError } from "./client-error.ts";
export { assertNotCalledOff, closable } from "./closable.ts";
export type { NbdLimits } from "./limits.ts";
export type { ChangedRange, ChangedSince, NbdExport } from "./nbd-export.ts";
export { type NbdListen, type NbdServeOptions, type NbdServer, serve } from "./server.ts";
export type { NbdTls } from "./tls.ts";
