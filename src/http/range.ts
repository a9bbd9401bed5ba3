/** A part of a representation: from `start`, up to and without `end`. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Reads `Range` (RFC 9110, section 14.1.2) for something of `length` bytes. `undefined` means: answer with the whole,
 * as the RFC allows for another unit and for several ranges. What only looks like a range of bytes is unsatisfiable:
 * whoever sent it would take the whole for the part that it wanted.
 */
export function parseRange(value: string, length: number): ByteRange | 'unsatisfiable' | undefined {
  if (!/^\s*bytes\s*=/i.test(value) || value.includes(',')) return undefined;
  const match = /^\s*bytes\s*=\s*(\d*)-(\d*)\s*$/i.exec(value);
  if (match === null) return 'unsatisfiable';
  const [, first = '', last = ''] = match;
  if (first === '' && last === '') return 'unsatisfiable';
  if (first === '') {
    const suffix = Number(last);
    return suffix === 0 || length === 0 ? 'unsatisfiable' : { start: Math.max(0, length - suffix), end: length };
  }
  const start = Number(first);
  if (last !== '' && Number(last) < start) return 'unsatisfiable';
  if (start >= length) return 'unsatisfiable';
  return { start, end: last === '' ? length : Math.min(length, Number(last) + 1) };
}
