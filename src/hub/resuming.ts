import { isMillraceError, MillraceError } from '../errors.js';
import type { HubEvent } from './channels.js';
import type { DriverConnection } from './driver.js';
import { weightOf } from './encoded-message.js';
import { type Begins, type Channel, type Feed, formatPositions, gapEvent, parsePositions } from './feed.js';

/**
 * How many bytes a returning subscriber may have to catch up on: they are kept until it has read them, beside what the
 * other subscribers share. More is a gap.
 */
export const REPLAY_BYTES_MAX = 16 * 1024 * 1024;

/** What a resumed subscription starts with. */
export interface Resumed {
  readonly events: HubEvent[];
  /** Where the subscriber is in each channel once it has read `events`: live events up to there it had already. */
  readonly seen: Map<Channel, string>;
}

/** How one subscriber comes back. */
export interface Resumption {
  readonly feed: Feed;
  /** The id of the last event that it had. */
  readonly after: string;
  /** Where the live events of each channel begin for it. */
  readonly begins: Begins;
  readonly connection: DriverConnection | undefined;
  readonly countMax: number;
  readonly signal: AbortSignal;
}

/** Reads what a returning subscriber missed. Where that cannot be had, a gap takes its place. */
export async function readMissed(resumption: Resumption): Promise<Resumed> {
  const { feed, after, begins, countMax } = resumption;
  const positions = parsePositions(after, feed.channels);
  const events: HubEvent[] = [];
  const seen = new Map<Channel, string>();
  let bytes = 0;
  for (const channel of feed.channels) {
    const from = positions.get(channel);
    try {
      if (from === undefined) throw gone('There is no position for this channel.');
      for await (const { id, payload } of replay(resumption, channel.name, from)) {
        const size = weightOf(payload);
        if (events.length >= countMax || bytes + size > REPLAY_BYTES_MAX) throw gone('There is too much to replay.');
        bytes += size;
        positions.set(channel, id);
        seen.set(channel, id);
        events.push(
          channel.decode(channel.name, payload, feed.channels.length === 1 ? id : positionsOf(feed, positions)),
        );
      }
      // Nothing is newer than the last that it had, which may be among the live events all the same.
      if (!seen.has(channel)) seen.set(channel, from);
    } catch (error) {
      if (!isMillraceError(error, 'HUB_HISTORY_GONE')) throw error;
      const begin = begins.get(channel);
      if (begin === undefined) positions.delete(channel);
      else positions.set(channel, begin);
      events.push(gapEvent(channel, { reason: 'history', detail: error.message }));
    }
  }
  return { events, seen };
}

function replay({ connection, signal }: Resumption, channel: string, after: string) {
  const replayed = connection?.replay?.(channel, after, signal);
  if (replayed === undefined) throw gone('This broker keeps no history: start from the present state.');
  return replayed;
}

function positionsOf(feed: Feed, positions: ReadonlyMap<Channel, string>): string {
  return formatPositions(feed.channels.map((channel) => [channel, positions.get(channel)]));
}

function gone(detail: string): MillraceError {
  return new MillraceError('HUB_HISTORY_GONE', detail);
}
