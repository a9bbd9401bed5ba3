import type { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { MillraceError } from '../errors.js';
import { createFollowEngine, type FollowEngineLimits, followEngineLimits } from '../follow/index.js';
import type { AnyHub, Hub } from '../hub/index.js';
import type { Store } from '../log/index.js';
import { SubscriptionManager, type SubscriptionManagerOptions } from '../subscriptions/index.js';
import { baseFields } from './base-fields.js';
import { type HttpContext, type Live, type Log, SILENT } from './context.js';
import { dispatch } from './dispatch.js';
import { createHeartbeat } from './heartbeat.js';
import { IntakeBudget } from './intake-budget.js';
import { type HttpLimits, httpLimits } from './limits.js';
import { createOriginCheck, type OriginCheck, type OriginCheckOptions } from './origin-check.js';
import { Pipeline } from './pipeline.js';
import { sendProblem } from './problem.js';
import { isBelow } from './request-target.js';
import { type Route, routeOf } from './route.js';
import { refusalFields } from './stream-fields.js';
import { createUpgrade } from './upgrade.js';

/** Options of {@link createHandler}. */
export interface HandlerOptions {
  readonly store: Store;
  /** Where the streams begin in the server's URLs, like `/streams`. Default: at the root. */
  readonly prefix?: string;
  /**
   * Scheme and host under which clients reach this server, like `https://streams.example`, for the URLs that it gives
   * out. Default: as each request names them, which is wrong behind a proxy that does not pass `Host` on.
   */
  readonly publicUrl?: string;
  /**
   * Refuses requests of pages of other origins than these, and those that name another host. Default: pages of every origin
   * may come, for a handler does not know where its server listens. A server without any other way to tell who asks,
   * on a machine where somebody uses a browser, wants it.
   */
  readonly originCheck?: false | OriginCheckOptions;
  /** For `/-/events` and `/-/publish`. Default: they do not exist. Stays yours: `close()` does not close it. */
  readonly hub?: AnyHub;
  /** Default: nothing is logged. A pino logger fits. */
  readonly log?: Log;
  /** What is not given has the default of `DEFAULT_HTTP_LIMITS`. */
  readonly limits?: Partial<HttpLimits>;
  /**
   * Webhooks and pull-wake subscriptions below `__ds/`. `false`: none. One handler per store may have them.
   * Default: on, webhooks only to public https URLs.
   */
  readonly subscriptions?: false | Omit<SubscriptionManagerOptions, 'store' | 'log'>;
  /** Window and read sizes of the follow engine. */
  readonly follow?: Partial<FollowEngineLimits>;
}

/**
 * Millrace as listeners for a `node:http` server, or for a framework that is built on it. Call `configureServer` with
 * that server as well: no handler can keep Node's `requestTimeout` from cutting an upload after five minutes.
 */
export interface Handler {
  /**
   * A `request` listener, and Connect-style middleware: for a URL that is not below the prefix it does nothing but
   * call `next`, if given, and answers false.
   */
  readonly request: (req: IncomingMessage, res: ServerResponse, next?: () => void) => boolean;
  /** An `upgrade` listener. Answers false, and leaves the socket alone, for a URL that is not below the prefix. */
  readonly upgrade: (req: IncomingMessage, socket: Duplex, head: Buffer) => boolean;
  /**
   * Takes no new work (503), commits what appenders had sent, brings followers to their end, and resolves when all
   * connections are done or cut off after `drainMs`. Does not close the store.
   */
  close(options?: { readonly drainMs?: number }): Promise<void>;
}

/** Throws `INVALID_ARGUMENT` for options that cannot be. */
export function checkHandlerOptions(options: Omit<HandlerOptions, 'store'>): void {
  const { prefix = '', limits, follow } = options;
  if (prefix !== '' && !/^(\/[^/?#%]+)+$/.test(prefix)) {
    throw new MillraceError('INVALID_ARGUMENT', `prefix must be like /streams, with no slash at its end: ${prefix}`);
  }
  originCheckOf(options);
  httpLimits(limits);
  followEngineLimits(follow);
}

/** The check that the options ask for. Errors: `INVALID_ARGUMENT`. */
export function originCheckOf({
  originCheck = false,
  publicUrl,
}: Pick<HandlerOptions, 'originCheck' | 'publicUrl'>): OriginCheck | undefined {
  return originCheck === false ? undefined : createOriginCheck(originCheck, publicUrl);
}

/** Makes the listeners. Errors: `INVALID_ARGUMENT`. */
export function createHandler(options: HandlerOptions): Handler {
  checkHandlerOptions(options);
  const { store, prefix = '', log = SILENT } = options;
  const limits = httpLimits(options.limits);
  const live = new Set<Live>();
  /** Those under way. Each counts for the drain; what lasts is in `live` too, with a better way to stop. */
  const responses = new Set<ServerResponse>();
  const pipeline = new Pipeline(limits);
  let draining = false;
  let emptied: (() => void) | undefined;

  const context: HttpContext = {
    store,
    follow: createFollowEngine({ store, ...options.follow }),
    limits,
    log,
    prefix,
    publicUrl: options.publicUrl?.replace(/\/+$/, ''),
    originCheck: originCheckOf(options),
    subscriptions:
      options.subscriptions === false ? undefined : new SubscriptionManager({ ...options.subscriptions, store, log }),
    hub: options.hub as Hub | undefined,
    intake: new IntakeBudget(limits),
    sessions: new Set(),
    heartbeat: createHeartbeat(limits.heartbeatIntervalMs),
    get draining() {
      return draining;
    },
    track(entry) {
      live.add(entry);
      // Not at once: the caller does not have the way to untrack it yet.
      if (draining) queueMicrotask(() => live.has(entry) && entry.stop());
      return () => {
        live.delete(entry);
        if (live.size + responses.size === 0) emptied?.();
      };
    },
  };

  /** One function for all responses: their number is that of small appends. */
  function onClose(this: ServerResponse): void {
    responses.delete(this);
    if (live.size + responses.size === 0) emptied?.();
  }

  const answer = async (req: IncomingMessage, res: ServerResponse) => {
    responses.add(res);
    res.on('close', onClose);
    if (draining) res.shouldKeepAlive = false;
    const base = baseFields(req, res, context.originCheck);
    let route: Route | undefined;
    try {
      route = routeOf(req, context);
      await dispatch({ req, res, context, route, base });
    } catch (error) {
      // A client that went away in the middle has nobody to tell.
      if (res.destroyed) log.debug({ err: error }, 'a client went away');
      else
        sendProblem(
          { req, res, context, base, ...(route === undefined ? {} : { route }) },
          error,
          refusalFields(error),
        );
    }
  };

  const upgrade = createUpgrade(context, answer);

  return {
    request(req, res, next) {
      if (!isBelow(req, prefix)) {
        next?.();
        return false;
      }
      // A response without a socket belongs to a request that was pipelined.
      if (!res.socket && req.socket instanceof Socket) pipeline.wait(req.socket, req, res, () => void answer(req, res));
      else void answer(req, res);
      return true;
    },
    upgrade(req, socket, head) {
      if (!isBelow(req, prefix)) return false;
      upgrade(req, socket, head);
      return true;
    },
    async close({ drainMs = limits.drainMs } = {}) {
      draining = true;
      context.subscriptions?.close();
      for (const entry of [...live]) entry.stop();
      if (live.size + responses.size > 0) {
        let timer: NodeJS.Timeout | undefined;
        await new Promise<void>((resolve) => {
          emptied = resolve;
          timer = setTimeout(resolve, drainMs);
        });
        clearTimeout(timer);
      }
      for (const entry of [...live]) entry.abort();
      for (const res of [...responses]) res.destroy();
      context.heartbeat.close();
      context.follow.close();
    },
  };
}
