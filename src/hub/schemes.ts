import { MillraceError } from '../errors.js';
import type { Driver } from './driver.js';

/**
 * What the module of a driver exports so that a URL can name it. Throws `INVALID_ARGUMENT` for a URL that cannot be
 * right. MUST NOT do I/O.
 */
interface DriverModule {
  driverFromUrl(url: string): Driver<unknown> | Driver;
}

/** The drivers of this package by the schemes of their URLs. Loaded when used; an outsider's driver is passed as an object. */
const modules: Readonly<Record<string, () => Promise<DriverModule>>> = {
  memory: () => import('./drivers/memory.js'),
  redis: () => import('./drivers/redis.js'),
  rediss: () => import('./drivers/redis.js'),
  nats: () => import('./drivers/nats.js'),
  tls: () => import('./drivers/nats.js'),
  nsq: () => import('./drivers/nsq.js'),
  'nsq+lookupd': () => import('./drivers/nsq.js'),
  kafka: () => import('./drivers/kafka.js'),
  zeromq: () => import('./drivers/zeromq.js'),
};

/** The schemes that `createHub(url)` knows. */
export const hubSchemes: readonly string[] = Object.keys(modules);

/** Whether the driver for a URL carries values: known before it is loaded, so that messages can be encoded at once. */
export function carriesValues(url: string): boolean {
  return /^memory:/i.test(url);
}

/** Finds the driver for a URL; `load` imports it. Throws `HUB_UNKNOWN_SCHEME`. */
export function driverLoader(url: string): () => Promise<Driver> {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase() ?? '';
  const load = Object.hasOwn(modules, scheme) ? modules[scheme] : undefined;
  if (load === undefined) {
    throw new MillraceError(
      'HUB_UNKNOWN_SCHEME',
      `No driver for a hub URL of scheme "${scheme}": use one of ${hubSchemes.join(', ')}, or pass a driver object.`,
      { scheme },
    );
  }
  return async () => (await load()).driverFromUrl(url) as Driver;
}
