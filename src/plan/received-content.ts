import type { Image } from "../image/index.ts";
import type { ReceiveOperation } from "./operation.ts";

/** Bytes of the disk that are to hold something else. */
export interface ReceivedRange {
  readonly offset: number;
  readonly length: number;
  readonly isZero: boolean;
}

/** A piece of the disk that is written anew. */
export interface ReceivedPiece {
  readonly offset: number;
  readonly length: number;
  /** Received ranges cover all of it that lies on the disk. */
  readonly isWhole: boolean;
}

/** Where the active layer of an image will be. */
export interface ReceivedRoot {
  readonly offset: number;
  readonly entries: number;
  /** Bytes of the disk. */
  readonly size: number;
}

/** What a disk is to hold. The plan and, later, the reserved clusters are made of it. */
export interface ReceivedContent {
  /** Ascending; no two of them overlap. */
  changes(): AsyncIterable<ReceivedRange>;

  /** Fills `target` with what pieces, ascending, are to hold, one behind the other. Behind the end of the disk are zeros. Calls may overlap. */
  read(pieces: readonly ReceivedPiece[], target: Uint8Array): Promise<void>;

  /**
   * Reads the disk as it will be, when all that was reserved is there, and before anything refers to it.
   * @throws what speaks against the decision
   */
  verify(root: ReceivedRoot): Promise<void>;
}

/** Looks at an image that is locked, and says what it is to hold. @throws what speaks against it */
export type OpenReceived = (image: Image, operation: ReceiveOperation) => Promise<ReceivedContent>;
