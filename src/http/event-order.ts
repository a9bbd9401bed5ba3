import { isMillraceError, MillraceError } from '../errors.js';
import { EncodedMessage, type Pattern } from '../hub/index.js';
import { SLICE_BYTES, turnBudget } from '../turn-budget.js';
import { collectMembers, JSON_DEPTH_MAX } from '../wire/json-scanner.js';
import { scanJson } from './scan-json.js';
import { tight } from './tight.js';

/** Ids to go on after, by channel. */
export type Ids = Readonly<Record<string, string>>;

/** What a WebSocket client asks of the hub, checked. */
export type Order =
  | { readonly op: 'subscribe'; readonly targets: readonly (string | Pattern)[]; readonly after: Ids }
  | { readonly op: 'unsubscribe'; readonly targets: readonly (string | Pattern)[] }
  | { readonly op: 'publish'; readonly channels: readonly string[]; readonly message: EncodedMessage };

/** An order, or what is wrong with it. */
export interface ReadOrder {
  /** The JSON text of the client's own `ref`, to be given back as it is. */
  readonly ref: string | undefined;
  readonly order: Order | MillraceError;
}

/** How long an order may be, beside its message, and its `ref`. */
const ORDER_BYTES_MAX = 256 * 1024;
const REF_BYTES_MAX = 1024;

/** What an order may say; what else it says is overlooked. */
const NAMES: ReadonlySet<string> = new Set(['op', 'ref', 'channels', 'patterns', 'after', 'message', 'base64']);

type Members = Map<string, Uint8Array>;

/**
 * Reads an order from the text of a WebSocket message. Only the short parts become objects: the message stays the bytes that
 * it is, checked slice by slice where it is large (then a promise is answered), and keeps its text.
 */
export function readOrder(text: Uint8Array): ReadOrder | Promise<ReadOrder> {
  const members: Members = new Map();
  const onEntry = collectMembers(text, NAMES, members);
  try {
    const scanning = scanJson(text, { depthMax: JSON_DEPTH_MAX + 1, onEntry });
    if (scanning !== undefined) return scanning.then(() => checkOrder(text, members), refused);
  } catch (error) {
    return refused(error);
  }
  return checkOrder(text, members);
}

function refused(error: unknown): ReadOrder {
  if (!isMillraceError(error, 'INVALID_JSON')) throw error;
  return { ref: undefined, order: invalid('The message is not JSON.') };
}

function checkOrder(text: Uint8Array, members: Members): ReadOrder | Promise<ReadOrder> {
  let ref: string | undefined;
  try {
    if (!/^\s*\{/.test(latin1(text.subarray(0, 64))) && members.size === 0) throw invalid('The message is no object.');
    ref = refOf(members.get('ref'));
    const order = orderOf(members);
    const known = ref;
    if (!(order instanceof Promise)) return { ref, order };
    return order.then(
      (each) => ({ ref: known, order: each }),
      (error) => wrong(known, error),
    );
  } catch (error) {
    return wrong(ref, error);
  }
}

function wrong(ref: string | undefined, error: unknown): ReadOrder {
  if (!isMillraceError(error)) throw error;
  return { ref, order: error };
}

function refOf(bytes: Uint8Array | undefined): string | undefined {
  if (bytes === undefined) return undefined;
  if (bytes.length > REF_BYTES_MAX) throw invalid(`ref may have ${REF_BYTES_MAX} bytes.`);
  return Buffer.from(bytes).toString();
}

function orderOf(members: Members): Order | Promise<Order> {
  const op = short(members, 'op');
  switch (op) {
    case 'subscribe': {
      const after = members.has('after') ? short(members, 'after') : {};
      if (typeof after !== 'object' || after === null || Object.values(after).some((id) => typeof id !== 'string')) {
        throw invalid('after must be an object of ids by channel.');
      }
      return { op, targets: targetsOf(members), after: after as Ids };
    }
    case 'unsubscribe':
      return { op, targets: targetsOf(members) };
    case 'publish': {
      const channels = namesOf(members, 'channels');
      if (channels.length === 0) throw invalid('publish needs channels.');
      const base64 = members.get('base64');
      if (base64 !== undefined) {
        const bytes = bytesOf(base64);
        if (!(bytes instanceof Promise)) return { op, channels, message: new EncodedMessage(bytes, 'binary') };
        return bytes.then((each) => ({ op, channels, message: new EncodedMessage(each, 'binary') }));
      }
      const message = members.get('message');
      if (message === undefined) throw invalid('publish needs a message.');
      return { op, channels, message: new EncodedMessage(tight(message), 'json') };
    }
    default:
      throw invalid('op must be subscribe, unsubscribe or publish.');
  }
}

/** The value of a member that is no message. */
function short(members: Members, name: string): unknown {
  const bytes = members.get(name);
  if (bytes === undefined) return undefined;
  if (bytes.length > ORDER_BYTES_MAX) throw invalid(`${name} may have ${ORDER_BYTES_MAX} bytes: use several orders.`);
  return parse(bytes);
}

function targetsOf(members: Members): (string | Pattern)[] {
  const patterns = namesOf(members, 'patterns').map((pattern) => ({ pattern }));
  const targets = [...namesOf(members, 'channels'), ...patterns];
  if (targets.length === 0) throw invalid('Name at least one of channels or patterns.');
  return targets;
}

function namesOf(members: Members, name: string): string[] {
  const value = members.has(name) ? short(members, name) : [];
  if (!Array.isArray(value) || !value.every((each) => typeof each === 'string')) {
    throw invalid(`${name} must be a list of strings.`);
  }
  return value;
}

/** What a JSON string says in base64, the quotes included. A long one is read slice by slice. */
function bytesOf(json: Uint8Array): Uint8Array | Promise<Uint8Array> {
  // Some programs write a slash as `\/`.
  const isEscaped = json.includes(BACKSLASH);
  const value: unknown = isEscaped || json[0] !== QUOTE ? parse(json) : undefined;
  const digits = typeof value === 'string' ? Buffer.from(value, 'latin1') : json.subarray(1, -1);
  if (json[0] !== QUOTE || digits.includes(MINUS) || digits.includes(UNDERSCORE)) throw notBase64();
  let { length } = digits;
  for (let padding = 0; padding < 2 && digits[length - 1] === EQUALS; padding++) length--;
  // One digit alone says nothing.
  if (length % 4 === 1) throw notBase64();
  const out = Buffer.from(new ArrayBuffer(Math.floor((length * 3) / 4)));
  const decode = (from: number, to: number) => {
    // What is no digit is left out by the decoder, and then there is less than there should be.
    const size = Math.floor(((to - from) * 3) / 4);
    if (out.write(latin1(digits.subarray(from, to)), Math.floor((from * 3) / 4), 'base64') < size) throw notBase64();
  };
  const plain = () => new Uint8Array(out.buffer);
  if (length <= SLICE_BYTES) {
    decode(0, length);
    return plain();
  }
  const inSlices = async () => {
    for (let from = 0; from < length; from += SLICE_BYTES) {
      await turnBudget.take(SLICE_BYTES);
      decode(from, Math.min(length, from + SLICE_BYTES));
    }
    return plain();
  };
  return inSlices();
}

const QUOTE = 0x22;
const MINUS = 0x2d;
const EQUALS = 0x3d;
const BACKSLASH = 0x5c;
const UNDERSCORE = 0x5f;

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

function parse(json: Uint8Array): unknown {
  return JSON.parse(Buffer.from(json.buffer, json.byteOffset, json.byteLength).toString());
}

function notBase64(): MillraceError {
  return invalid('base64 must be base64.');
}

export function invalid(detail: string): MillraceError {
  return new MillraceError('INVALID_REQUEST', detail);
}
