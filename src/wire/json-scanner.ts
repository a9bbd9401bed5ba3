import { type ErrorDetails, MillraceError } from '../errors.js';

/** How deep a message may be nested: readers in many languages are recursive. */
export const JSON_DEPTH_MAX = 1000;

/**
 * Told of each value that the outermost array or object holds, by its bounds in the bytes, and by those of its name,
 * quotes included; in an array both of these are -1.
 */
export type JsonEntryVisitor = (start: number, end: number, nameStart: number, nameEnd: number) => void;

/** Options of {@link JsonScanner}. */
export interface JsonScannerOptions {
  /** How deep arrays and objects may be nested (default {@link JSON_DEPTH_MAX}). */
  readonly depthMax?: number;
  readonly onEntry?: JsonEntryVisitor;
}

/**
 * Checks that bytes are one JSON text in UTF-8 (RFC 8259, as strictly as `JSON.parse`), and makes nothing of it: no
 * objects, no text, no copy. A large one is checked in slices, so that others have their turn in between; a parser
 * cannot be stopped, and takes ten times the memory of a text like `[{},{},…]`.
 *
 *     const scanner = new JsonScanner(bytes);
 *     while (!scanner.scan(SLICE_BYTES)) await nextTurn();
 */
export class JsonScanner {
  readonly #bytes: Uint8Array;
  readonly #machine: JsonMachine;
  #at = 0;

  constructor(bytes: Uint8Array, { depthMax = JSON_DEPTH_MAX, onEntry }: JsonScannerOptions = {}) {
    this.#bytes = bytes;
    // A small message is not worth a place for a thousand levels that it cannot have.
    const levels = Math.min(depthMax, bytes.length);
    this.#machine = new JsonMachine({ depthMax, levels, ...(onEntry === undefined ? {} : { onEntry }) });
  }

  /**
   * Goes on for so many bytes; true once all are checked. Errors: `INVALID_JSON`, which says at which byte it ceases to be
   * JSON, or that it is nested too deep.
   */
  scan(bytesMax = Number.POSITIVE_INFINITY): boolean {
    const bytes = this.#bytes;
    const end = Math.min(bytes.length, this.#at + bytesMax);
    this.#machine.take(bytes, this.#at, end);
    this.#at = end;
    if (end < bytes.length) return false;
    this.#machine.end();
    return true;
  }
}

/** {@link JsonScanner} for texts that are small, or where nobody else waits. Errors: `INVALID_JSON`. */
export function checkJson(bytes: Uint8Array): void {
  new JsonScanner(bytes).scan();
}

/** Takes a text's bytes as they are checked, without what stands between its tokens. */
export interface JsonTokenSink {
  /** These bytes are no part of a token. */
  drop(bytes: Uint8Array, start: number, end: number): void;
  /** The byte is the comma between two elements of the outermost array. */
  separate(bytes: Uint8Array, at: number): void;
}

/** Options of {@link JsonMachine}. */
interface JsonMachineOptions {
  readonly depthMax: number;
  /** For how many levels it has room: as many as a text can have. Default: `depthMax`. */
  readonly levels?: number;
  readonly onEntry?: JsonEntryVisitor;
  /**
   * Where tokens go. The outermost array is then none of them, nor a level: its elements are texts of their own
   * (Durable Streams, section 9.1). With `keepsArrays` it is like any other.
   */
  readonly sink?: JsonTokenSink;
  readonly keepsArrays?: boolean;
}

/** The state of a text that is being checked, whatever pieces it comes in. */
export class JsonMachine {
  readonly #onEntry: JsonEntryVisitor | undefined;
  readonly #sink: JsonTokenSink | undefined;
  readonly #splits: boolean;
  readonly #depthMax: number;
  /** What each open bracket was, outermost first. */
  readonly #open: Uint8Array;
  #depth = 0;
  #levelsMax: number;
  #state = VALUE;
  /** How many bytes were taken, and how far that is from their places in the piece at hand. */
  #taken = 0;
  #offset = 0;
  /** Which element of the outermost array it is, from 1 on, where each is a text of its own. */
  #element = 0;
  /** Whether the string at hand is the name of a member. */
  #isName = false;
  /** What is left of a word (`true`), of `\u` and its digits, or of a character of several bytes. */
  #word = '';
  #left = 0;
  /** Which bytes may be the next one of a character: not all that look like it (RFC 3629). */
  #low = 0;
  #high = 0;
  /** Bounds of what is at hand in the outermost array or object. */
  #nameStart = -1;
  #nameEnd = -1;
  #entryStart = 0;
  #valueEnd = -1;

  constructor({ depthMax, levels = depthMax + 1, onEntry, sink, keepsArrays = false }: JsonMachineOptions) {
    this.#depthMax = depthMax;
    this.#levelsMax = depthMax;
    this.#open = new Uint8Array(levels);
    this.#onEntry = onEntry;
    this.#sink = sink;
    this.#splits = sink !== undefined && !keepsArrays;
  }

  /** Whether nothing but whitespace came so far. */
  get isBlank(): boolean {
    return this.#state === VALUE && this.#depth === 0;
  }

  /** Begins a new text. */
  reset(): void {
    this.#depth = 0;
    this.#levelsMax = this.#depthMax;
    this.#state = VALUE;
    this.#taken = 0;
    this.#element = 0;
    this.#valueEnd = -1;
  }

  /** Checks the next bytes of the text. Errors: `INVALID_JSON`. */
  take(bytes: Uint8Array, from: number, end: number): void {
    this.#offset = this.#taken - from;
    let at = from;
    let state = this.#state;
    while (at < end) {
      const byte = bytes[at] as number;
      switch (state) {
        case STRING:
          // The tight loop: most bytes are plain characters of strings.
          while (at < end && (PLAIN[bytes[at] as number] as number) === 1) at++;
          if (at === end) break;
          state = this.#leaveString(bytes[at] as number, at);
          at++;
          break;
        case ESCAPE:
          if (byte === LETTER_U) {
            this.#left = 4;
            state = HEX;
          } else if (ESCAPED[byte] === 1) state = STRING;
          else throw this.#notJson(at);
          at++;
          break;
        case HEX:
          if (!isHex(byte)) throw this.#notJson(at);
          if (--this.#left === 0) state = STRING;
          at++;
          break;
        case CHARACTER:
          if (byte < this.#low || byte > this.#high) throw this.#notUtf8(at);
          this.#low = 0x80;
          this.#high = 0xbf;
          if (--this.#left === 0) state = STRING;
          at++;
          break;
        case WORD:
          if (byte !== this.#word.charCodeAt(this.#word.length - this.#left)) throw this.#notJson(at);
          at++;
          if (--this.#left === 0) {
            state = AFTER_VALUE;
            this.#valueEnd = at;
          }
          break;
        case AFTER_VALUE:
          if (byte <= SPACE) at = this.#space(bytes, at, end);
          else if (byte === COMMA && this.#depth > 1) {
            state = this.#open[this.#depth - 1] === OPEN_BRACE ? NAME : VALUE;
            at++;
          } else state = this.#afterValue(bytes, byte, at++);
          break;
        case VALUE:
        case VALUE_OR_END:
        case NAME:
        case NAME_OR_END:
        case COLON:
          if (byte <= SPACE) at = this.#space(bytes, at, end);
          else state = this.#begin(bytes, state, byte, at++);
          break;
        default: {
          const next = afterDigit(state, byte);
          if (next < 0) throw this.#notJson(at);
          if (next === AFTER_VALUE) this.#valueEnd = at;
          else {
            at++;
            if (next === state) while (at < end && isDigit(bytes[at] as number)) at++;
          }
          state = next;
        }
      }
    }
    this.#state = state;
    this.#taken += end - from;
  }

  /** The text ends here. Errors: `INVALID_JSON` where it is not whole. */
  end(): void {
    if (this.#depth > 0 || !(this.#state === AFTER_VALUE || isWholeNumber(this.#state)))
      throw this.#notJson(this.#taken - this.#offset);
  }

  /** Takes what stands between tokens; answers where that ends. */
  #space(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end && isSpace(bytes[at] as number)) at++;
    if (at === start) throw this.#notJson(at);
    this.#sink?.drop(bytes, start, at);
    return at;
  }

  /** A byte of a string that is no plain character: its end, an escape, or the first of several of a character. */
  #leaveString(byte: number, at: number): number {
    if (byte === QUOTE) {
      if (!this.#isName) {
        this.#valueEnd = at + 1;
        return AFTER_VALUE;
      }
      if (this.#depth === 1) this.#nameEnd = at + 1;
      return COLON;
    }
    if (byte === BACKSLASH) return ESCAPE;
    if (byte < SPACE) throw this.#notJson(at);
    if (byte < 0xc2 || byte > 0xf4) throw this.#notUtf8(at);
    this.#left = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    // No longer form than needed, no half of a surrogate pair, nothing beyond U+10FFFF.
    this.#low = byte === 0xe0 ? 0xa0 : byte === 0xf0 ? 0x90 : 0x80;
    this.#high = byte === 0xed ? 0x9f : byte === 0xf4 ? 0x8f : 0xbf;
    return CHARACTER;
  }

  /** What a byte begins where a value, a name or a colon is due. */
  #begin(bytes: Uint8Array, state: number, byte: number, at: number): number {
    if (state === COLON) {
      if (byte !== COLON_SIGN) throw this.#notJson(at);
      return VALUE;
    }
    if (state === NAME || state === NAME_OR_END) {
      if (byte === CLOSE_BRACE && state === NAME_OR_END) return this.#close(bytes, byte, at);
      if (byte !== QUOTE) throw this.#notJson(at);
      if (this.#depth === 1) this.#nameStart = at;
      this.#isName = true;
      return STRING;
    }
    if (byte === CLOSE_BRACKET && state === VALUE_OR_END) return this.#close(bytes, byte, at);
    if (this.#depth === 1) this.#entryStart = at;
    switch (byte) {
      case QUOTE:
        this.#isName = false;
        return STRING;
      case OPEN_BRACE:
      case OPEN_BRACKET:
        if (this.#depth === 0 && byte === OPEN_BRACKET && this.#splits) {
          this.#levelsMax++;
          this.#element = 1;
          this.#sink?.drop(bytes, at, at + 1);
        }
        if (this.#depth === this.#levelsMax) throw this.#tooDeep();
        this.#open[this.#depth++] = byte;
        return byte === OPEN_BRACE ? NAME_OR_END : VALUE_OR_END;
      case MINUS_SIGN:
        return MINUS;
      case ZERO_DIGIT:
        return ZERO;
      case LETTER_T:
        return this.#beginWord('true');
      case LETTER_F:
        return this.#beginWord('false');
      case LETTER_N:
        return this.#beginWord('null');
      default:
        if (!isDigit(byte)) throw this.#notJson(at);
        return INTEGER;
    }
  }

  #beginWord(word: string): number {
    this.#word = word;
    this.#left = word.length - 1;
    return WORD;
  }

  #afterValue(bytes: Uint8Array, byte: number, at: number): number {
    if (this.#depth === 0) throw this.#notJson(at);
    if (byte !== COMMA) return this.#close(bytes, byte, at);
    if (this.#depth === 1) {
      this.#tellEntry();
      if (this.#splits && this.#open[0] === OPEN_BRACKET) {
        this.#element++;
        this.#sink?.separate(bytes, at);
      }
    }
    return this.#open[this.#depth - 1] === OPEN_BRACE ? NAME : VALUE;
  }

  #close(bytes: Uint8Array, byte: number, at: number): number {
    const open = this.#open[this.#depth - 1];
    if (byte !== (open === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET)) throw this.#notJson(at);
    if (this.#depth === 1) {
      if (this.#valueEnd >= 0) this.#tellEntry();
      if (this.#splits && open === OPEN_BRACKET) this.#sink?.drop(bytes, at, at + 1);
    }
    this.#depth--;
    this.#valueEnd = at + 1;
    return AFTER_VALUE;
  }

  #tellEntry(): void {
    const isMember = this.#open[0] === OPEN_BRACE;
    this.#onEntry?.(this.#entryStart, this.#valueEnd, isMember ? this.#nameStart : -1, isMember ? this.#nameEnd : -1);
  }

  #notJson(place: number): MillraceError {
    const at = place + this.#offset;
    return this.#invalid(`This is not JSON from byte ${at} on: send one whole JSON value.`, { at });
  }

  #notUtf8(place: number): MillraceError {
    const at = place + this.#offset;
    return this.#invalid(`The JSON is not UTF-8 at byte ${at}: encode its text as UTF-8.`, { at });
  }

  #tooDeep(): MillraceError {
    const depthMax = this.#depthMax;
    return this.#invalid(`The JSON is nested deeper than ${depthMax} levels: flatten it.`, { depthMax });
  }

  #invalid(message: string, details: ErrorDetails): MillraceError {
    if (this.#element === 0) return new MillraceError('INVALID_JSON', message, details);
    return new MillraceError('INVALID_JSON', `Message ${this.#element} of the array: ${message}`, {
      ...details,
      message: this.#element,
    });
  }
}

/** Longer names are overlooked: nobody asks for one. */
const MEMBER_NAME_BYTES_MAX = 64;

/**
 * For {@link JsonScannerOptions.onEntry}: puts the texts of an object's members into `found`, of those that have one of these
 * names. What an object says twice counts as it says it last.
 */
export function collectMembers(
  bytes: Uint8Array,
  names: ReadonlySet<string>,
  found: Map<string, Uint8Array>,
): JsonEntryVisitor {
  const decoder = new TextDecoder();
  return (start, end, nameStart, nameEnd) => {
    if (nameStart < 0 || nameEnd - nameStart > MEMBER_NAME_BYTES_MAX) return;
    // Also one that is written with escapes.
    const name = JSON.parse(decoder.decode(bytes.subarray(nameStart, nameEnd))) as string;
    if (names.has(name)) found.set(name, bytes.subarray(start, end));
  };
}

// What is due next, or what is at hand.
const VALUE = 0;
const VALUE_OR_END = 1;
const NAME = 2;
const NAME_OR_END = 3;
const COLON = 4;
const AFTER_VALUE = 5;
const STRING = 6;
const ESCAPE = 7;
const HEX = 8;
const CHARACTER = 9;
const WORD = 10;
const MINUS = 11;
const ZERO = 12;
const INTEGER = 13;
const POINT = 14;
const FRACTION = 15;
const EXPONENT_MARK = 16;
const EXPONENT_SIGN = 17;
const EXPONENT = 18;

const SPACE = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS_SIGN = 0x2d;
const ZERO_DIGIT = 0x30;
const COLON_SIGN = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const LETTER_F = 0x66;
const LETTER_N = 0x6e;
const LETTER_T = 0x74;
const LETTER_U = 0x75;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Which bytes stand for themselves in a string. */
const PLAIN = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= SPACE && byte < 0x80 && byte !== QUOTE && byte !== BACKSLASH ? 1 : 0,
);
/** Which bytes may follow a backslash, but for `u`. */
const ESCAPED = new Uint8Array(256);
for (const character of '"\\/bfnrt') ESCAPED[character.charCodeAt(0)] = 1;

/** The state after a byte of a number; negative where the byte cannot be part of one. */
function afterDigit(state: number, byte: number): number {
  switch (state) {
    case MINUS:
      return byte === ZERO_DIGIT ? ZERO : isDigit(byte) ? INTEGER : -1;
    case ZERO:
    case INTEGER:
      if (isDigit(byte)) return state === INTEGER ? INTEGER : -1;
      if (byte === 0x2e) return POINT;
      return isExponentMark(byte) ? EXPONENT_MARK : AFTER_VALUE;
    case POINT:
      return isDigit(byte) ? FRACTION : -1;
    case FRACTION:
      if (isDigit(byte)) return FRACTION;
      return isExponentMark(byte) ? EXPONENT_MARK : AFTER_VALUE;
    case EXPONENT_MARK:
      if (byte === 0x2b || byte === MINUS_SIGN) return EXPONENT_SIGN;
      return isDigit(byte) ? EXPONENT : -1;
    case EXPONENT_SIGN:
      return isDigit(byte) ? EXPONENT : -1;
    default:
      return isDigit(byte) ? EXPONENT : AFTER_VALUE;
  }
}

function isWholeNumber(state: number): boolean {
  return state === ZERO || state === INTEGER || state === FRACTION || state === EXPONENT;
}

function isDigit(byte: number): boolean {
  return byte >= ZERO_DIGIT && byte <= 0x39;
}

function isExponentMark(byte: number): boolean {
  return byte === 0x65 || byte === 0x45;
}

function isHex(byte: number): boolean {
  return isDigit(byte) || ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66);
}

function isSpace(byte: number): boolean {
  return byte === SPACE || byte === 0x0a || byte === 0x0d || byte === 0x09;
}
