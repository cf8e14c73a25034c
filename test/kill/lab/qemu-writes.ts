import { type FileChange, type Sync, changed } from "../../../tools/crash/real/change.ts";
import { record } from "../../../tools/crash/real/record.ts";

/** What a program did to one file. */
export type FileEvent = FileChange | Sync;

/** Runs a qemu tool on an image and records every event of the file, contents included. */
export async function traceQemu(
  image: string,
  log: string,
  program: string,
  args: readonly string[],
): Promise<FileEvent[]> {
  const events = await record([program, ...args], image, log);
  return events.map((event) => {
    switch (event.kind) {
      case "write":
      case "truncate":
      case "zero":
      case "sync":
        return event;
      case "create":
      case "mkdir":
      case "rename":
      case "link":
      case "unlink":
        throw new Error(`${program} did more than write to the image: ${event.kind}`);
    }
  });
}

/** What a kill before each event leaves, then what the whole run leaves. */
export function* killStates(before: Buffer, events: readonly FileEvent[]): Generator<Buffer> {
  let state = before;
  for (const event of events) {
    yield state;
    if (event.kind !== "sync") state = changed(state, event);
  }
  yield state;
}
