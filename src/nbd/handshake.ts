import type { ByteReader } from "./byte-reader.ts";
import { NbdClientError } from "./client-error.ts";
import {
  HandshakeFlag,
  NBD_MAGIC,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
  Option,
  OptionReply,
} from "./constants.ts";
import type { NbdLimits } from "./limits.ts";
import type { MetaContext } from "./meta-contexts.ts";
import { type NbdExport, findExport } from "./nbd-export.ts";
import { InvalidOption, textOf, u16Bytes, u32Bytes, u64Bytes } from "./option-data.ts";
import {
  type FindExport,
  type Negotiation,
  type OptionOutcome,
  answerOption,
  refusal,
  transmissionFlags,
} from "./options.ts";
import type { Sender } from "./sender.ts";

/** The two ways of a connection, which TLS replaces. */
export interface Channel {
  readonly reader: ByteReader;
  readonly sender: Sender;
}

/** What the client is going to read, and how it is answered. */
export interface Agreement {
  readonly channel: Channel;
  readonly export: NbdExport;
  readonly structured: boolean;
  readonly contexts: readonly MetaContext[];
}

export interface HandshakeOptions {
  readonly exports: readonly NbdExport[];
  readonly limits: NbdLimits;
  /** Encrypts the connection; where it is set nothing else is answered before. */
  readonly startTls?: (() => Promise<Channel>) | undefined;
  /** Hears of disks that cannot be opened. */
  readonly report: (error: unknown) => void;
}

/** How much more than the limit is read over, so that the client can be told. */
const SKIPPED_OPTIONS = 16;

const KNOWN_FLAGS = HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes;

/**
 * Fixed newstyle negotiation, until the client chose an export or took leave (undefined).
 * @throws Disconnected, NbdClientError
 */
export async function negotiate(clear: Channel, options: HandshakeOptions): Promise<Agreement | undefined> {
  const { exports, limits, startTls, report } = options;
  const find = finderOf(exports);
  await clear.sender.send(u64Bytes(NBD_MAGIC), u64Bytes(OPTION_MAGIC), u16Bytes(KNOWN_FLAGS));
  const clientFlags = (await clear.reader.read(4)).readUInt32BE();
  if ((clientFlags & ~KNOWN_FLAGS) !== 0) throw new NbdClientError("it sets handshake flags nobody offered");
  const fixed = (clientFlags & HandshakeFlag.fixedNewstyle) !== 0;

  let channel = clear;
  let encrypted = false;
  let state: Negotiation = { structured: false, selected: undefined };

  const agree = (chosen: NbdExport): Agreement => {
    const { structured, selected } = state;
    return {
      channel,
      export: chosen,
      structured,
      contexts: selected?.export === chosen ? selected.contexts : [],
    };
  };

  for (;;) {
    const header = await channel.reader.read(16);
    if (header.readBigUInt64BE() !== OPTION_MAGIC) throw new NbdClientError("what it sends is no option");
    const option = header.readUInt32BE(8);
    const length = header.readUInt32BE(12);
    const reply = async (outcome: OptionOutcome): Promise<void> => {
      await channel.sender.send(
        ...outcome.answers.flatMap(({ type, data }) => optionReply(option, type, data)),
      );
    };

    if (length > limits.optionBytes * SKIPPED_OPTIONS) throw new NbdClientError("its option is far too long");
    if (length > limits.optionBytes) {
      await channel.reader.skip(length);
      if (option === Option.exportName) throw new NbdClientError("its name of an export is too long");
      await reply(refusal(OptionReply.errTooBig, `options have at most ${limits.optionBytes} bytes here`));
      continue;
    }
    const data = await channel.reader.read(length);
    if (!fixed && option !== Option.exportName)
      throw new NbdClientError("it sends options that it did not negotiate");

    if (option === Option.abort) {
      await reply({ answers: [{ type: OptionReply.ack }] });
      return undefined;
    }
    if (option === Option.startTls && !encrypted) {
      if (startTls === undefined) {
        await reply(refusal(OptionReply.errPolicy, "this server has no certificate"));
      } else if (length > 0) {
        await reply(refusal(OptionReply.errInvalid, "the option has no data"));
      } else {
        await reply({ answers: [{ type: OptionReply.ack }] });
        channel = await startTls();
        encrypted = true;
        // What was agreed in the clear, somebody else may have asked for.
        state = { structured: false, selected: undefined };
      }
    } else if (startTls !== undefined && !encrypted) {
      // This option has no reply that could say so.
      if (option === Option.exportName) throw new NbdClientError("it asks for an export without TLS");
      await reply(refusal(OptionReply.errTlsRequired, "this server wants TLS first"));
    } else if (option === Option.exportName) {
      const chosen = await find(exportName(data));
      if (chosen === undefined) throw new NbdClientError("it asks for an export that there is not");
      const zeroes = (clientFlags & HandshakeFlag.noZeroes) === 0 ? 124 : 0;
      const flags = u16Bytes(transmissionFlags(state.structured));
      await channel.sender.send(u64Bytes(chosen.disk.size), flags, Buffer.alloc(zeroes));
      return agree(chosen);
    } else {
      const outcome = await tryOption(() => answerOption(option, data, exports, find, state), report);
      await reply(outcome);
      if (outcome.chosen !== undefined) return agree(outcome.chosen);
    }
  }
}

async function tryOption(
  answer: () => Promise<OptionOutcome>,
  report: (error: unknown) => void,
): Promise<OptionOutcome> {
  try {
    return await answer();
  } catch (error) {
    if (error instanceof InvalidOption) return refusal(OptionReply.errInvalid, error.message);
    report(error);
    return refusal(OptionReply.errUnknown, "the disk cannot be opened there");
  }
}

/** What a client has been told of an export holds while it is connected, whatever becomes of it meanwhile. */
function finderOf(exports: readonly NbdExport[]): FindExport {
  const told = new Map<NbdExport, NbdExport>();
  return async (name) => {
    const found = findExport(exports, name);
    if (found?.now === undefined) return found;
    const known = told.get(found) ?? { ...found, ...(await found.now()) };
    told.set(found, known);
    return known;
  };
}

function exportName(data: Buffer): string {
  try {
    return textOf(data);
  } catch {
    throw new NbdClientError("its name of an export is no name");
  }
}

function optionReply(option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer[] {
  return [u64Bytes(OPTION_REPLY_MAGIC), u32Bytes(option, type, data.length), data];
}
