import { MillraceError } from '../errors.js';
import type { ChannelNames } from './driver.js';

/** Begins a name whose other characters are written as `-HH`, byte by byte in UTF-8. */
const READABLE_MARK = 'mr--';
/** Begins a name that is written as base64url of its UTF-8: shorter, where the readable form is too long. */
const DENSE_MARK = 'mr64-';

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** What {@link markedNames} needs to know of a broker. */
export interface MarkedNamesOptions {
  /** Whether the broker holds this name as it is. It must hold all of `A–Z a–z 0–9 . _ -`, up to `lengthMax`. */
  readonly holds: (name: string) => boolean;
  /** The longest name on the broker in characters. */
  readonly lengthMax: number;
}

/**
 * Reversible names for brokers that hold only letters, digits, `.`, `_` and `-`. With so few characters none can be
 * spared to begin an escape: every name that the broker holds stays itself, and one that it does not hold, or that
 * begins with a mark, gets a mark in front:
 *
 * - `job/42` → `mr--job-2F42`
 * - where that is too long, `mr64-` and the whole name in base64url.
 *
 * `fromBroker` gives back names that are not of these forms unchanged: a foreign program made them.
 */
export function markedNames({ holds, lengthMax }: MarkedNamesOptions): ChannelNames {
  function toBroker(name: string): string {
    if (holds(name) && !name.startsWith(READABLE_MARK) && !name.startsWith(DENSE_MARK)) return name;
    const readable = READABLE_MARK + toReadable(name);
    if (readable.length <= lengthMax) return readable;
    const dense = DENSE_MARK + Buffer.from(name).toString('base64url');
    if (dense.length <= lengthMax) return dense;
    throw new MillraceError(
      'HUB_CHANNEL_INVALID',
      `This broker's names may have ${lengthMax} characters, and "${name}" needs ${dense.length} there: choose a shorter one.`,
      { lengthMax, length: dense.length },
    );
  }

  return {
    toBroker,
    fromBroker(name) {
      const original = name.startsWith(READABLE_MARK)
        ? fromReadable(name.slice(READABLE_MARK.length))
        : name.startsWith(DENSE_MARK)
          ? decode(Buffer.from(name.slice(DENSE_MARK.length), 'base64url'))
          : undefined;
      // Only the one form that toBroker makes is read back, so that no two names on the broker become one channel.
      return original && isMarked(original, name) ? original : name;
    },
  };

  function isMarked(original: string, marked: string): boolean {
    try {
      return toBroker(original) === marked;
    } catch {
      return false;
    }
  }
}

function toReadable(name: string): string {
  let readable = '';
  for (const character of name) {
    if (/^[A-Za-z0-9._]$/.test(character)) readable += character;
    else for (const byte of utf8.encode(character)) readable += `-${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return readable;
}

function fromReadable(readable: string): string | undefined {
  if (!/^(?:[A-Za-z0-9._]|-[0-9A-F]{2})*$/.test(readable)) return undefined;
  const bytes: number[] = [];
  for (let at = 0; at < readable.length; at++) {
    if (readable[at] === '-') {
      bytes.push(Number.parseInt(readable.slice(at + 1, at + 3), 16));
      at += 2;
    } else bytes.push(readable.charCodeAt(at));
  }
  return decode(Uint8Array.from(bytes));
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return fromUtf8.decode(bytes);
  } catch {
    return undefined;
  }
}
