import { readFile } from "node:fs/promises";
import type { OpenState } from "../../src/index.ts";
import { inspectImage, readRoot } from "../support/naive-qcow2.ts";
import { BytesGuest } from "./lab.ts";

let opened = 0;

/** How many were opened and not closed. */
export const openStates = (): number => opened;

/** What the plain reader says that a state of an image holds. */
export const naiveState: OpenState = async (path, { snapshot }) => {
  const bytes = await readFile(path);
  const { snapshots } = inspectImage(bytes);
  const place = snapshots.findIndex(({ id, name }) =>
    typeof snapshot === "string" ? name === snapshot : id === snapshot?.id,
  );
  opened += 1;
  return new (class extends BytesGuest {
    override async close(): Promise<void> {
      opened -= 1;
      await super.close();
    }
  })(readRoot(bytes, snapshot === undefined ? "active" : place));
};
