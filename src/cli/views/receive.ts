import type { ReceiveOperation } from "../../index.ts";
import { quoted } from "./text.ts";

/** A state that was sent. */
export const sentState = ({ snapshot }: ReceiveOperation["to"]): string =>
  snapshot === null ? "the disk as it was sent" : quoted(snapshot.name);

/** What a stream brings, as `receive` and `history` say it. */
export const receivedStates = ({ from, to }: Pick<ReceiveOperation, "from" | "to">): string =>
  `${sentState(to)}${from === null ? "" : ` since ${sentState(from)}`}`;
