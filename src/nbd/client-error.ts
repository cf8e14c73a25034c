/** A client broke the protocol or a limit, and was dropped. */
export class NbdClientError extends Error {
  override readonly name = "NbdClientError";
}

/** The client is gone: nobody is there to be told. */
export class Disconnected extends Error {
  override readonly name = "Disconnected";
}
