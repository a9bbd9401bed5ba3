import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FollowEngine } from '../follow/index.js';
import type { Hub } from '../hub/index.js';
import type { AppendSession, Store } from '../log/index.js';
import type { SubscriptionManager } from '../subscriptions/index.js';
import type { Heartbeat } from './heartbeat.js';
import type { IntakeBudget } from './intake-budget.js';
import type { HttpLimits } from './limits.js';
import type { OriginCheck } from './origin-check.js';
import type { MillraceRoute, Route, StreamRoute, SubscriptionRoute } from './route.js';

/** The part of a pino logger that is used here. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Where nobody asked for a log. */
export const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** A response or socket that may last: the drain has to bring it to its end. */
export interface Live {
  /** The server is going down: finish soon and properly. Called at most once, never after it was untracked. */
  stop(): void;
  /** The drain limit has passed: cut it off. */
  abort(): void;
}

/** What every verb gets. One per handler. */
export interface HttpContext {
  readonly store: Store;
  readonly follow: FollowEngine;
  readonly limits: HttpLimits;
  readonly log: Log;
  /** Where the streams begin in the server's URLs: `''` or like `/streams`. */
  readonly prefix: string;
  /** `https://host` under which clients reach this server; undefined: as each request names it. */
  readonly publicUrl: string | undefined;
  /** Keeps pages of foreign origins out; undefined where all may come. */
  readonly originCheck: OriginCheck | undefined;
  /** Undefined where the server has none. */
  readonly subscriptions: SubscriptionManager | undefined;
  /** Behind `/-/events` and `/-/publish`; undefined where the server has none. */
  readonly hub: Hub | undefined;
  /** For all that is on its way in. */
  readonly intake: IntakeBudget;
  /** The appenders of now. */
  readonly sessions: Set<AppendSession>;
  readonly heartbeat: Heartbeat;
  /** Whether the handler takes no new work (`close()` was called). */
  readonly draining: boolean;
  /** Registers something that may last; call what it returns when that is over. Stops it at once while draining. */
  track(live: Live): () => void;
}

/** One request and its response. */
export interface Exchange<R extends Route = Route> {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly route: R;
  readonly context: HttpContext;
  /** The fields that the response begins with (base-fields.ts), whatever it is. */
  readonly base: readonly string[];
}

/** Answers a request. What it throws becomes a problem response, or cuts the connection once headers are sent. */
type Handle<R extends Route> = (exchange: Exchange<R>) => void | Promise<void>;

export type StreamHandler = Handle<StreamRoute>;
export type MillraceHandler = Handle<MillraceRoute>;
export type SubscriptionHandler = Handle<SubscriptionRoute>;
