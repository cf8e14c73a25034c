/**
 * A second opinion on qcow2: a slow, plain reader and checker of a whole file
 * in memory. It shares no code with `src`, because it judges it.
 */
export { checkImage, describeCheck } from "./naive-qcow2/check.ts";
export type { CheckReport, Problem } from "./naive-qcow2/check.ts";
export { inspectImage, logicalState, readRoot } from "./naive-qcow2/inspect.ts";
export type { InspectReport, RootReport, SnapshotReport } from "./naive-qcow2/inspect.ts";
export { NaiveError, parseHeader } from "./naive-qcow2/header.ts";
export type { HeaderExtension, NaiveHeader, NaiveOptions } from "./naive-qcow2/header.ts";
