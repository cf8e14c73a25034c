import { NbdClientError } from "./client-error.ts";
import { Command, CommandFlag, Errno, MAX_REQUEST, REQUEST_MAGIC } from "./constants.ts";

export interface Request {
  readonly flags: number;
  readonly type: number;
  /** What the client knows the request by; handed back as it is. */
  readonly cookie: Buffer;
  /** Inside of what a number can count; anything larger is outside of every disk. */
  readonly offset: number;
  readonly length: number;
}

export const REQUEST_BYTES = 28;

/** @throws NbdClientError when it is no request: there is no way back to where the next one begins */
export function parseRequest(bytes: Buffer): Request {
  if (bytes.readUInt32BE() !== REQUEST_MAGIC) throw new NbdClientError("what it sends is no request");
  return {
    flags: bytes.readUInt16BE(4),
    type: bytes.readUInt16BE(6),
    cookie: bytes.subarray(8, 16),
    offset: Number(bytes.readBigUInt64BE(16)),
    length: bytes.readUInt32BE(24),
  };
}

export interface RequestError {
  readonly errno: number;
  readonly message: string;
}

const bad = (message: string): RequestError => ({ errno: Errno.EINVAL, message });

/** Why a request is refused without a look at the disk. */
export function refusalOf(
  { type, flags, offset, length }: Request,
  agreed: { readonly size: number; readonly structured: boolean; readonly contexts: boolean },
): RequestError | undefined {
  switch (type) {
    case Command.write:
    case Command.trim:
    case Command.writeZeroes:
    case Command.resize:
      return { errno: Errno.EPERM, message: "the export is read-only" };
    case Command.read:
      if ((flags & ~(agreed.structured ? CommandFlag.dontFragment : 0)) !== 0) return bad("unknown flags");
      if (length > MAX_REQUEST) {
        const whole = (flags & CommandFlag.dontFragment) !== 0;
        return { errno: whole ? Errno.EOVERFLOW : Errno.EINVAL, message: "more than 32 MiB at once" };
      }
      break;
    case Command.cache:
      if (flags !== 0) return bad("unknown flags");
      break;
    case Command.blockStatus:
      if ((flags & ~CommandFlag.requestOne) !== 0) return bad("unknown flags");
      if (!agreed.contexts) return bad("no context was negotiated");
      if (length === 0) return bad("nothing is asked for");
      break;
    default:
      return bad("unknown command");
  }
  return offset > agreed.size - length ? bad("outside of the disk") : undefined;
}
