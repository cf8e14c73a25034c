import { Info, MAX_REQUEST, Option, OptionReply, TransmissionFlag } from "./constants.ts";
import { type MetaContext, contextsOf, selectContexts } from "./meta-contexts.ts";
import type { NbdExport } from "./nbd-export.ts";
import { OptionData, u16Bytes, u32Bytes, u64Bytes } from "./option-data.ts";

/** What client and server have agreed on so far. */
export interface Negotiation {
  structured: boolean;
  /** The contexts of the last NBD_OPT_SET_META_CONTEXT, for that export alone. */
  selected: { readonly export: NbdExport; readonly contexts: readonly MetaContext[] } | undefined;
}

/** One reply to an option; the last is an acknowledgement or an error. */
export interface OptionAnswer {
  readonly type: number;
  readonly data?: Buffer;
}

export interface OptionOutcome {
  readonly answers: readonly OptionAnswer[];
  /** Set when the client chose this export and reads from here on. */
  readonly chosen?: NbdExport;
}

const ACK: OptionAnswer = { type: OptionReply.ack };

/** A cluster of most images; whole ones are read at the price of a part. */
const PREFERRED_BLOCK = 64 * 1024;

export const refusal = (type: number, message: string): OptionOutcome => ({
  answers: [{ type, data: Buffer.from(message) }],
});

export function transmissionFlags(structured: boolean): number {
  const { hasFlags, readOnly, sendDf, canMultiConn, sendCache } = TransmissionFlag;
  return hasFlags | readOnly | canMultiConn | sendCache | (structured ? sendDf : 0);
}

/** The export of a name as it is now, and the same whenever one client asks. */
export type FindExport = (name: string) => Promise<NbdExport | undefined>;

/**
 * The answer to an option other than those that end or change the connection.
 * @throws InvalidOption
 */
export async function answerOption(
  option: number,
  bytes: Buffer,
  exports: readonly NbdExport[],
  find: FindExport,
  state: Negotiation,
): Promise<OptionOutcome> {
  const data = new OptionData(bytes);
  switch (option) {
    case Option.list:
      data.end();
      return { answers: [...exports.map(listed), ACK] };
    case Option.info:
    case Option.go:
      return describe(option === Option.go, data, find, state);
    case Option.structuredReply:
      data.end();
      state.structured = true;
      return { answers: [ACK] };
    case Option.listMetaContext:
    case Option.setMetaContext:
      return metaContexts(option === Option.listMetaContext, data, find, state);
    default:
      return refusal(OptionReply.errUnsupported, "this server does not know the option");
  }
}

function listed({ name, description }: NbdExport): OptionAnswer {
  const bytes = Buffer.from(name);
  const details = Buffer.from(description ?? "");
  return { type: OptionReply.server, data: Buffer.concat([u32Bytes(bytes.length), bytes, details]) };
}

function unknownExport(name: string): OptionOutcome {
  return refusal(OptionReply.errUnknown, name === "" ? "name one of the exports" : "there is no such export");
}

async function describe(
  go: boolean,
  data: OptionData,
  find: FindExport,
  state: Negotiation,
): Promise<OptionOutcome> {
  const name = data.string();
  const wanted = new Set<number>();
  for (let left = data.u16(); left > 0; left -= 1) wanted.add(data.u16());
  data.end();
  const found = await find(name);
  if (found === undefined) return unknownExport(name);

  const info = (type: number, ...parts: readonly Buffer[]): OptionAnswer => ({
    type: OptionReply.info,
    data: Buffer.concat([u16Bytes(type), ...parts]),
  });
  const answers = [
    info(Info.export, u64Bytes(found.disk.size), u16Bytes(transmissionFlags(state.structured))),
    info(Info.blockSize, u32Bytes(1, PREFERRED_BLOCK, MAX_REQUEST)),
  ];
  if (wanted.has(Info.name)) answers.push(info(Info.name, Buffer.from(found.name)));
  if (wanted.has(Info.description) && found.description !== undefined)
    answers.push(info(Info.description, Buffer.from(found.description)));
  answers.push(ACK);
  return go ? { answers, chosen: found } : { answers };
}

async function metaContexts(
  listing: boolean,
  data: OptionData,
  find: FindExport,
  state: Negotiation,
): Promise<OptionOutcome> {
  // Whatever comes of it, what an earlier option selected is selected no more.
  if (!listing) state.selected = undefined;
  const name = data.string();
  const queries: string[] = [];
  for (let left = data.u32(); left > 0; left -= 1) queries.push(data.string());
  data.end();
  if (!listing && !state.structured)
    return refusal(OptionReply.errInvalid, "contexts need structured replies, which come first");
  const found = await find(name);
  if (found === undefined) return unknownExport(name);

  const contexts = selectContexts(contextsOf(found), queries, listing);
  if (!listing) state.selected = { export: found, contexts };
  const answers = contexts.map((context, id) => ({
    type: OptionReply.metaContext,
    data: Buffer.concat([u32Bytes(listing ? 0 : id), Buffer.from(context.name)]),
  }));
  return { answers: [...answers, ACK] };
}
