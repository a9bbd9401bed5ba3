import { MillraceError } from '../errors.js';
import { checkStreamPath, parseStreamPath } from '../log/index.js';
import {
  compileGlob,
  describeStreams,
  describeSubscription,
  LEASE_TTL_MS_DEFAULT,
  LEASE_TTL_MS_MAX,
  LEASE_TTL_MS_MIN,
  type SubscriptionConfig,
  type SubscriptionKey,
  type SubscriptionManager,
  type WakeName,
  type WorkReport,
} from '../subscriptions/index.js';
import { parseOffset } from '../wire/offset.js';
import { withBody } from './body.js';
import type { Exchange, SubscriptionHandler } from './context.js';
import { asksFirst } from './expectation.js';
import { lingerFor, toProblem } from './problem.js';
import { requestOrigin } from './request-target.js';
import { requireMethod, sendJson } from './respond.js';
import { publicStreamPath, type SubscriptionRoute } from './route.js';
import { scanJson } from './scan-json.js';
import { refusalFields } from './stream-fields.js';

/** Largest body of a request about subscriptions: it becomes objects in one go. */
export const SUBSCRIPTION_BYTES_MAX = 256 * 1024;
/** How deep it may be nested. */
export const SUBSCRIPTION_DEPTH_MAX = 16;
/** Longest id of a subscription. */
export const SUBSCRIPTION_ID_LENGTH_MAX = 256;
/** Longest description. */
export const DESCRIPTION_LENGTH_MAX = 4096;
/** Longest name of a worker. */
export const WORKER_LENGTH_MAX = 256;

/** Everything below `__ds/` (Durable Streams, sections 6 and 7). */
export const subscriptions: SubscriptionHandler = async (exchange) => {
  try {
    await answer(exchange);
  } catch (error) {
    sendError(exchange, error);
  }
};

type SubscriptionExchange = Exchange<SubscriptionRoute>;

async function answer(exchange: SubscriptionExchange): Promise<void> {
  const { route, context } = exchange;
  const manager = context.subscriptions;
  if (manager === undefined) throw new MillraceError('NOT_FOUND', 'This server has no subscriptions.');
  if (route.rest === 'jwks.json') return sendKeys(exchange, manager);
  const [collection, id = '', action, ...rest] = route.rest.split('/');
  if (collection !== 'subscriptions' || id === '') throw nothingHere();
  const key = { root: rootOf(route.base), id: parseId(id) };
  if (action === undefined) return answerSubscription(exchange, manager, key);
  if (action === 'streams' && rest.length > 0) return removeStream(exchange, manager, key, rest.join('/'));
  if (rest.length > 0 || !Object.hasOwn(actions, action)) throw nothingHere();
  requireMethod(exchange, 'POST');
  if (asksFirst(exchange.req)) await manager.get(key);
  await actions[action]?.(exchange, manager, key, await readObject(exchange));
}

async function sendKeys(exchange: SubscriptionExchange, manager: SubscriptionManager): Promise<void> {
  requireMethod(exchange, 'GET', 'HEAD');
  const body = Buffer.from(JSON.stringify({ keys: (await manager.keys()).publicKeys }));
  exchange.res.writeHead(200, [
    ...exchange.base,
    'Content-Type',
    'application/jwk-set+json',
    'Cache-Control',
    'public, max-age=300',
    'Content-Length',
    String(body.length),
  ]);
  exchange.res.end(body);
}

async function answerSubscription(
  exchange: SubscriptionExchange,
  manager: SubscriptionManager,
  key: SubscriptionKey,
): Promise<void> {
  const { req, route, context } = exchange;
  requireMethod(exchange, 'PUT', 'GET', 'HEAD', 'DELETE');
  if (route.method === 'DELETE') {
    await manager.delete(key);
    return sendEmpty(exchange);
  }
  let status = 200;
  let subscription = route.method === 'PUT' ? undefined : await manager.get(key);
  if (subscription === undefined) {
    const made = await manager.create(key, parseConfig(await readObject(exchange)), {
      url: `${requestOrigin(req, context.publicUrl)}${context.prefix}${route.base}`,
      configured: context.publicUrl !== undefined,
    });
    ({ subscription } = made);
    if (made.created) status = 201;
  }
  const keys = subscription.config.type === 'webhook' ? await manager.keys() : undefined;
  sendJson(exchange, status, describeSubscription(subscription, keys));
}

async function removeStream(
  exchange: SubscriptionExchange,
  manager: SubscriptionManager,
  key: SubscriptionKey,
  encodedPath: string,
): Promise<void> {
  requireMethod(exchange, 'DELETE');
  await manager.removeStream(key, relativePath(decode(encodedPath)));
  sendEmpty(exchange);
}

type Action = (
  exchange: SubscriptionExchange,
  manager: SubscriptionManager,
  key: SubscriptionKey,
  body: Readonly<Record<string, unknown>>,
) => Promise<void>;

const actions: Readonly<Record<string, Action>> = {
  async streams(exchange, manager, key, body) {
    await manager.addStreams(key, parsePaths(body.streams) ?? []);
    sendEmpty(exchange);
  },
  async claim(exchange, manager, key, body) {
    const worker = optionalText(body, 'worker', WORKER_LENGTH_MAX);
    if (worker === undefined || worker === '') throw invalid('worker must name the worker that claims');
    const { wakeId, generation, token, subscription } = await manager.claim(key, worker);
    sendJson(exchange, 200, {
      wake_id: wakeId,
      generation,
      token,
      streams: describeStreams(subscription),
      lease_ttl_ms: subscription.config.leaseTtlMs,
    });
  },
  async callback(exchange, manager, key, body) {
    const nextWake = await manager.report(key, 'webhook', bearerToken(exchange), parseReport(body));
    sendJson(exchange, 200, { ok: true, next_wake: nextWake });
  },
  async ack(exchange, manager, key, body) {
    const nextWake = await manager.report(key, 'pull-wake', bearerToken(exchange), parseReport(body));
    sendJson(exchange, 200, { ok: true, next_wake: nextWake });
  },
  async release(exchange, manager, key, body) {
    await manager.release(key, bearerToken(exchange), parseWake(body));
    sendEmpty(exchange);
  },
};

function parseConfig(body: Readonly<Record<string, unknown>>): SubscriptionConfig {
  const { type } = body;
  if (type !== 'webhook' && type !== 'pull-wake') throw invalid('type must be webhook or pull-wake');
  const config: { -readonly [K in keyof SubscriptionConfig]: SubscriptionConfig[K] } = {
    type,
    streams: [...new Set(parsePaths(body.streams))].sort(),
    leaseTtlMs: parseLeaseTtl(body.lease_ttl_ms),
  };
  const pattern = optionalText(body, 'pattern', Number.POSITIVE_INFINITY)?.replace(/^\/+|\/+$/g, '');
  if (pattern !== undefined) {
    compileGlob(pattern);
    config.pattern = pattern;
  }
  if (pattern === undefined && body.streams === undefined) throw invalid('give a pattern, or streams, or both');
  if (type === 'webhook') {
    const url = (body.webhook as { url?: unknown } | null | undefined)?.url;
    if (typeof url !== 'string') throw invalid('a webhook subscription needs webhook.url');
    config.webhookUrl = url;
  } else {
    const wakeStream = optionalText(body, 'wake_stream', Number.POSITIVE_INFINITY);
    if (wakeStream === undefined) throw invalid('a pull-wake subscription needs wake_stream');
    config.wakeStream = relativePath(wakeStream);
  }
  const description = optionalText(body, 'description', DESCRIPTION_LENGTH_MAX);
  if (description !== undefined) config.description = description;
  return config;
}

function parseLeaseTtl(value: unknown): number {
  if (value === undefined || value === null) return LEASE_TTL_MS_DEFAULT;
  if (typeof value === 'number' && Number.isInteger(value) && value >= LEASE_TTL_MS_MIN && value <= LEASE_TTL_MS_MAX) {
    return value;
  }
  throw invalid(`lease_ttl_ms must be a whole number from ${LEASE_TTL_MS_MIN} to ${LEASE_TTL_MS_MAX}`);
}

function parsePaths(value: unknown): string[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value) || !value.every((path) => typeof path === 'string')) {
    throw invalid('streams must be an array of paths');
  }
  return value.map(relativePath);
}

function parseWake(body: Readonly<Record<string, unknown>>): WakeName {
  const { wake_id: wakeId, generation } = body;
  if (typeof wakeId !== 'string' || typeof generation !== 'number') {
    throw invalid('wake_id and generation must be those of the wake');
  }
  return { wakeId, generation };
}

function parseReport(body: Readonly<Record<string, unknown>>): WorkReport {
  const acks = body.acks ?? [];
  if (!Array.isArray(acks)) throw invalid('acks must be an array');
  return {
    ...parseWake(body),
    acks: acks.map((ack: { stream?: unknown; offset?: unknown } | null) => {
      if (typeof ack?.stream !== 'string' || typeof ack.offset !== 'string') {
        throw invalid('each ack must have a stream and an offset');
      }
      return { path: relativePath(ack.stream), offset: parseOffset(ack.offset) };
    }),
    done: body.done === true,
  };
}

/** A path relative to the stream root. Errors: `INVALID_PATH`. */
function relativePath(path: string): string {
  return publicStreamPath(checkStreamPath(path.replace(/^\/+/, '')));
}

/** The store's path of the stream root, with its slash. */
function rootOf(base: string): string {
  return base === '' ? '' : `${publicStreamPath(parseStreamPath(base))}/`;
}

function parseId(encoded: string): string {
  const id = decode(encoded);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  if (id.length > SUBSCRIPTION_ID_LENGTH_MAX || /[\u0000-\u001f\u007f/]/.test(id)) {
    throw invalid(
      `the id must have at most ${SUBSCRIPTION_ID_LENGTH_MAX} characters, no slash and no control character`,
    );
  }
  return id;
}

function decode(encoded: string): string {
  try {
    return decodeURIComponent(encoded);
  } catch {
    throw invalid('its percent-encoding is not valid UTF-8');
  }
}

function optionalText(body: Readonly<Record<string, unknown>>, name: string, lengthMax: number): string | undefined {
  const value = body[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string' && value.length <= lengthMax) return value;
  throw invalid(`${name} must be text of at most ${lengthMax} characters`);
}

function readObject(exchange: SubscriptionExchange): Promise<Readonly<Record<string, unknown>>> {
  return withBody(exchange, parseObject, SUBSCRIPTION_BYTES_MAX);
}

async function parseObject(body: Buffer): Promise<Readonly<Record<string, unknown>>> {
  // Nothing here is nested; deep JSON takes a parser ten times as long.
  await scanJson(body, { depthMax: SUBSCRIPTION_DEPTH_MAX });
  const value: unknown = JSON.parse(body.toString('utf8'));
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid('the body must be a JSON object');
  return value as Record<string, unknown>;
}

function bearerToken(exchange: SubscriptionExchange): string | undefined {
  const { authorization = [] } = exchange.req.headersDistinct;
  // Of several it would be anybody's guess which one counts.
  return authorization.length === 1 ? /^Bearer +(\S+)$/i.exec(authorization[0] as string)?.[1] : undefined;
}

function sendEmpty({ res, base }: SubscriptionExchange): void {
  res.writeHead(204, [...base, 'Cache-Control', 'no-store']).end();
}

/** Errors of this API have a shape of their own: `{ error: { code, message, … } }` (section 7). */
function sendError(exchange: SubscriptionExchange, error: unknown): void {
  const { req, res, context } = exchange;
  if (res.destroyed) return;
  const { type, title, status, code, detail, ...details } = toProblem(error, context.log);
  if (status === 401) res.setHeader('WWW-Authenticate', 'Bearer');
  const fields = refusalFields(error);
  for (let at = 0; at < fields.length; at += 2) res.setHeader(fields[at] as string, fields[at + 1] as string);
  sendJson(exchange, status, { error: { code, message: detail, ...details } });
  lingerFor(req);
}

function nothingHere(): MillraceError {
  return new MillraceError('NOT_FOUND', 'There is nothing at this place below __ds/. See Durable Streams, section 6.');
}

function invalid(what: string): MillraceError {
  return new MillraceError('INVALID_REQUEST', `The request is not valid: ${what}.`);
}
