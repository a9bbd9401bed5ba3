import { EventStream } from 'millrace/event-stream';

/** How many events a member may be behind before it is sent away (it may join again at once). */
export const MAX_LAG = 8192;

/**
 * The one room: who is in it, and everything that happens in it as one stream of events.
 *
 * Each change is applied and published in one step, and `enter` reads the members and takes its place in the stream
 * in one step too. So whoever starts from the members it was told, and applies the events that follow, has the same
 * list as everybody else after every event.
 */
export class Room {
  #members = new Set();
  #events;
  #lastNumber = 0;

  constructor({ maxLag = MAX_LAG } = {}) {
    this.#events = new EventStream({ maxLag });
  }

  /** A new member, by a name that nobody had before. */
  join() {
    const who = `User ${++this.#lastNumber}`;
    this.#members.add(who);
    this.#events.publish({ who, what: 'JOIN', text: '' });
    return who;
  }

  leave(who) {
    if (!this.#members.delete(who) || this.#events.closed) return;
    this.#events.publish({ who, what: 'LEAVE', text: '' });
  }

  say(who, text) {
    if (!this.#members.has(who) || this.#events.closed) return;
    this.#events.publish({ who, what: 'CHAT', text });
  }

  /** Who is here now, and all that happens from now on. */
  enter({ signal }) {
    return { members: [...this.#members].sort(byNumber), events: this.#events.subscribe({ signal }) };
  }

  /** Ends every member's stream once it is read. */
  close() {
    this.#events.close();
  }
}

function byNumber(a, b) {
  return a.localeCompare(b, 'en', { numeric: true });
}
