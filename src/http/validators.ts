import type { IncomingMessage } from 'node:http';
import type { StreamInfo } from '../log/index.js';
import { matchesEntityTag, parseHttpDate } from '../wire/headers.js';
import type { Fields } from './stream-fields.js';

/** What names the state of something that a `GET` answers with (RFC 9110, section 8.8), for it and for the `HEAD`. */
export interface Validators {
  readonly tag: string;
  /** Milliseconds since the epoch, in whole seconds; undefined where nobody knows. */
  readonly modifiedMs: number | undefined;
}

const SECOND_MS = 1000;

/**
 * Those of the stream's bytes from `start` to `end`. `variant` tells another view of the same bytes apart.
 *
 * The date is the end of the second in which the newest byte came, so that all that comes after it has been told is later
 * than it: two states never share a date, which makes it as good as the tag.
 */
export function validatorsOf(info: StreamInfo, start: number, end: number, variant = ''): Validators {
  const closed = info.closed && end === info.tail;
  const { modifiedAtMs } = info;
  return {
    tag: `"${info.id}:${start}:${end}${variant}${closed ? ':c' : ''}"`,
    modifiedMs: modifiedAtMs === undefined ? undefined : (Math.floor(modifiedAtMs / SECOND_MS) + 1) * SECOND_MS,
  };
}

/** As header fields. */
export function validatorFields({ tag, modifiedMs }: Validators): Fields {
  if (modifiedMs === undefined) return ['ETag', tag];
  // Never later than `Date` (section 8.8.2.1). What has changed within this second is sent again to whoever asks by that.
  return ['ETag', tag, 'Last-Modified', new Date(Math.min(modifiedMs, Date.now())).toUTCString()];
}

/** Whether the client has what it asks for already (sections 13.1.2 and 13.1.3): the tag counts where both are given. */
export function isNotModified({ headers }: IncomingMessage, { tag, modifiedMs }: Validators): boolean {
  const tags = headers['if-none-match'];
  if (tags !== undefined) return matchesEntityTag(tags, tag);
  const since = parseHttpDate(headers['if-modified-since']);
  // A date that has not come yet says nothing.
  return since !== undefined && modifiedMs !== undefined && modifiedMs <= since && since <= Date.now();
}

/** `If-Range` (section 13.1.5): a part only if the whole is still what the client has a part of. */
export function rangeApplies({ headers }: IncomingMessage, { tag, modifiedMs }: Validators): boolean {
  const condition = headers['if-range'];
  if (condition === undefined || condition === tag) return true;
  return modifiedMs !== undefined && parseHttpDate(condition as string) === modifiedMs;
}
