import { MillraceError } from '../errors.js';
import type { ChannelNames } from './driver.js';

/** Default of `HubOptions.channelBytesMax`. */
export const DEFAULT_CHANNEL_BYTES_MAX = 1024;

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Throws `HUB_CHANNEL_INVALID` unless `name` can be a channel: a non-empty, well-formed string that is not too long. */
export function checkChannelName(name: unknown, bytesMax: number = DEFAULT_CHANNEL_BYTES_MAX): asserts name is string {
  if (typeof name !== 'string') {
    throw new MillraceError('HUB_CHANNEL_INVALID', `A channel name must be a string, not ${describe(name)}.`);
  }
  if (name === '') throw new MillraceError('HUB_CHANNEL_INVALID', 'A channel name must not be empty.');
  if (name.length * 3 > bytesMax && utf8.encode(name).length > bytesMax) {
    throw new MillraceError(
      'HUB_CHANNEL_INVALID',
      `A channel name may have ${bytesMax} bytes in UTF-8: shorten it, or raise channelBytesMax.`,
      { bytesMax },
    );
  }
  if (LONE_SURROGATE.test(name)) {
    throw new MillraceError(
      'HUB_CHANNEL_INVALID',
      'The channel name holds half of a surrogate pair: make it a well-formed string.',
    );
  }
}

function describe(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'an array' : typeof value;
}

/** The names of a broker that holds any string. */
export const plainNames: ChannelNames = { toBroker: (name) => name, fromBroker: (name) => name };

/** How many names an escaper remembers: every publish asks for one. */
const KNOWN_NAMES_MAX = 4096;

/** What {@link nameEscaper} needs to know of a broker. */
export interface NameEscaperOptions {
  /** Whether the broker holds this character (a code point as a string), which begins at this index of the name. */
  readonly holds: (character: string, index: number, name: string) => boolean;
  /** The character that begins an escape; the broker must hold it anywhere. It is itself always escaped. */
  readonly escape: string;
  /** The longest name on the broker in characters (default: no limit). */
  readonly lengthMax?: number;
}

/**
 * Reversible names for a broker that cannot hold every string: each character that it cannot hold becomes, for each
 * byte of its UTF-8 form, the escape character and two upper-case hex digits. All others stay as they are.
 *
 * `fromBroker` gives back names that are not of this form unchanged: a foreign program made them.
 */
export function nameEscaper(options: NameEscaperOptions): ChannelNames {
  const { holds, escape: mark, lengthMax = Number.POSITIVE_INFINITY } = options;
  const known = new Map<string, string>();

  function toBroker(name: string): string {
    let mapped = known.get(name);
    if (mapped === undefined) {
      mapped = escaped(name);
      if (known.size >= KNOWN_NAMES_MAX) known.clear();
      known.set(name, mapped);
    }
    return mapped;
  }

  function escaped(name: string): string {
    let mapped = '';
    let index = 0;
    for (const character of name) {
      if (character !== mark && holds(character, index, name)) mapped += character;
      else {
        for (const byte of utf8.encode(character)) mapped += mark + byte.toString(16).toUpperCase().padStart(2, '0');
      }
      index += character.length;
    }
    if (mapped.length > lengthMax) {
      throw new MillraceError(
        'HUB_CHANNEL_INVALID',
        `This broker's names may have ${lengthMax} characters, and "${name}" needs ${mapped.length} there: choose a shorter one.`,
        { lengthMax, length: mapped.length },
      );
    }
    return mapped;
  }
  function unescapeName(name: string): string | undefined {
    const bytes: number[] = [];
    for (let at = 0; at < name.length; ) {
      if (name[at] === mark) {
        const hex = name.slice(at + 1, at + 3);
        if (!/^[0-9A-F]{2}$/.test(hex)) return undefined;
        bytes.push(Number.parseInt(hex, 16));
        at += 3;
      } else {
        const character = String.fromCodePoint(name.codePointAt(at) as number);
        for (const byte of utf8.encode(character)) bytes.push(byte);
        at += character.length;
      }
    }
    try {
      return fromUtf8.decode(Uint8Array.from(bytes));
    } catch {
      return undefined;
    }
  }
  return {
    toBroker,
    fromBroker(name) {
      if (!name.includes(mark)) return name;
      const original = unescapeName(name);
      // Only the one form that toBroker makes is read back, so that no two names on the broker become one channel.
      return original !== undefined && isEscaped(original, name) ? original : name;
    },
  };
  function isEscaped(original: string, mapped: string): boolean {
    try {
      return toBroker(original) === mapped;
    } catch {
      return false;
    }
  }
}

/** The test for a pattern: `*` stands for any run of characters, all else for itself. */
export function patternMatcher(pattern: string): (name: string) => boolean {
  const parts = pattern.split('*');
  if (parts.length === 1) return (name) => name === pattern;
  // Not a RegExp: the leftmost match of each part in turn is enough here, and no hostile pattern makes it backtrack.
  const first = parts[0] as string;
  const last = parts[parts.length - 1] as string;
  const between = parts.slice(1, -1);
  return (name) => {
    if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false;
    const end = name.length - last.length;
    let at = first.length;
    for (const part of between) {
      const found = name.indexOf(part, at);
      if (found < 0 || found + part.length > end) return false;
      at = found + part.length;
    }
    return true;
  };
}
