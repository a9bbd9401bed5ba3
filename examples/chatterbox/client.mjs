import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import grpc from '@grpc/grpc-js';
import { connect } from './service.mjs';

/** Pause before a lost stream is opened again: doubled at each failure, from the first to the last. */
const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 16_000;

/** How long a member who has nothing more to say waits for the server to end its stream. */
const LEAVE_MS = 1_000;

/**
 * Takes part in the chat until `lines` end or the signal aborts; joins again when the connection is lost.
 * @param {{ address: string, lines: AsyncIterator<string>, print: (line: string) => void, signal: AbortSignal }} options
 */
export async function chat({ address, lines, print, signal }) {
  const client = connect(address);
  const left = new AbortController();
  // Leaves when it is told to, and when the lines are over.
  const leave = () => left.abort();
  if (signal.aborted) leave();
  else signal.addEventListener('abort', leave, { once: true });
  let next = lines.next();
  let talking = false;

  /** Sends what is typed while the stream is up. A line that comes while it is down waits for the next stream. */
  const talk = async (call, signal) => {
    const ended = new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined), { once: true }));
    talking = true;
    try {
      for (;;) {
        const line = await Promise.race([next, ended]);
        if (line === undefined) return;
        if (line.done) {
          call.end();
          await Promise.race([ended, sleep(LEAVE_MS, undefined, { ref: false })]);
          leave();
          return;
        }
        next = lines.next();
        if (!call.write({ text: line.value })) await Promise.race([once(call, 'drain', { signal }), ended]);
      }
    } finally {
      talking = false;
    }
  };

  /** Who has nothing more to say need not wait for the server to be back. */
  const onLost = async () => {
    if ((await next).done && !talking) leave();
  };

  await follow({ open: () => client.chat(), talk, onLost, print, signal: left.signal });
  signal.removeEventListener('abort', leave);
  client.close();
}

/**
 * Watches the chat without taking part until the signal aborts.
 * @param {{ address: string, print: (line: string) => void, signal: AbortSignal }} options
 */
export async function monitor({ address, print, signal }) {
  const client = connect(address);
  await follow({ open: () => client.monitor({}), print, signal });
  client.close();
}

/** Keeps a stream open until the signal aborts, and prints what comes. */
async function follow({ open, talk, onLost, print, signal }) {
  let backoffMs = BACKOFF_MIN_MS;
  while (!signal.aborted) {
    const call = open();
    const ended = new AbortController();
    const cancel = () => call.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    try {
      const events = call[Symbol.asyncIterator]();
      const members = await readMembers(events);
      print(`Members: ${[...members].join(', ')}`);
      backoffMs = BACKOFF_MIN_MS;
      talk?.(call, ended.signal).catch(() => {});
      for await (const event of events) print(sentence(event, members));
    } catch (error) {
      if (!signal.aborted && error.code !== grpc.status.CANCELLED)
        print(`Connection lost: ${error.details ?? error.message}`);
    } finally {
      ended.abort();
      signal.removeEventListener('abort', cancel);
    }
    if (signal.aborted) return;
    onLost?.().catch(() => {});
    await sleep(backoffMs, undefined, { signal }).catch(() => {});
    backoffMs = Math.min(backoffMs * 2, BACKOFF_MAX_MS);
  }
}

/** The members at the start of a stream: all `JOIN` events before the `INITIALIZED`. */
async function readMembers(events) {
  const members = new Set();
  for (;;) {
    const { done, value } = await events.next();
    if (done) throw new Error('the server ended the stream before it told who is here');
    if (value.what === 'INITIALIZED') return members;
    if (value.what !== 'JOIN') throw new Error(`unexpected ${value.what} before the members were told`);
    members.add(value.who);
  }
}

function sentence({ who, what, text }, members) {
  switch (what) {
    case 'CHAT':
      return `${who}: ${text}`;
    case 'JOIN':
      members.add(who);
      return `${who} joined (${members.size} here)`;
    case 'LEAVE':
      members.delete(who);
      return `${who} left (${members.size} here)`;
    default:
      throw new Error(`unexpected ${what}`);
  }
}
