import { type EngineContext, currentActor, recordObservation } from "../engine/index.ts";
import { type ImageStatus, type StatusOptions, compareWithRecord } from "./status.ts";

/** Compares an image with the record, and records what others did to it, so that it is seen once. */
export async function recordStatus(
  { journal, environment }: EngineContext,
  path: string,
  options: StatusOptions = {},
): Promise<ImageStatus> {
  const { status, seen } = await compareWithRecord(journal, environment, path, options);
  if (status.observed !== undefined && status.interrupted === undefined) {
    await recordObservation(journal, seen, status.observed, currentActor(environment.program, undefined));
  }
  return status;
}
