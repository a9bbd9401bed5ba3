import { BlockList, isIP, isIPv4 } from 'node:net';
import { MillraceError } from '../errors.js';

/**
 * Where a webhook may go (Durable Streams, sections 6.2 and 12.8). A webhook makes this server send a request on behalf
 * of whoever made the subscription, so it must reach nothing that only this server can reach.
 */

/** Longest webhook URL. */
export const WEBHOOK_URL_LENGTH_MAX = 2048;

const LOOPBACK = blockList(['127.0.0.0/8'], ['::1/128']);

/** Everything that IANA does not list as globally reachable; IPv6 is refused but for global unicast. */
const NOT_PUBLIC_IPV4 = blockList(
  [
    '0.0.0.0/8',
    '10.0.0.0/8',
    '100.64.0.0/10',
    '127.0.0.0/8',
    '169.254.0.0/16',
    '172.16.0.0/12',
    '192.0.0.0/24',
    '192.0.2.0/24',
    '192.88.99.0/24',
    '192.168.0.0/16',
    '198.18.0.0/15',
    '198.51.100.0/24',
    '203.0.113.0/24',
    '224.0.0.0/4',
    '240.0.0.0/4',
  ],
  [],
);
const GLOBAL_IPV6 = blockList([], ['2000::/3']);
// Protocol assignments, documentation, and 6to4, which holds an IPv4 address.
const NOT_PUBLIC_IPV6 = blockList([], ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20']);

/** Whether an address is one of the public internet. */
export function isPublicAddress(address: string): boolean {
  if (isIPv4(address)) return !NOT_PUBLIC_IPV4.check(address, 'ipv4');
  return GLOBAL_IPV6.check(address, 'ipv6') && !NOT_PUBLIC_IPV6.check(address, 'ipv6');
}

/** Whether an address is this machine's own. */
export function isLoopbackAddress(address: string): boolean {
  return LOOPBACK.check(address, isIPv4(address) ? 'ipv4' : 'ipv6');
}

/** A webhook's URL, checked, and what its host may resolve to. */
export interface WebhookTarget {
  readonly url: URL;
  readonly allows: (address: string) => boolean;
}

/**
 * Checks what can be checked without asking the network; the addresses of a name are checked when it is called.
 * `https` to public hosts; with `allowLoopback` also `http` to `localhost` and `127.x.x.x`, for development.
 * Errors: `WEBHOOK_URL_REJECTED`.
 */
export function checkWebhookUrl(text: string, allowLoopback: boolean): WebhookTarget {
  if (text.length > WEBHOOK_URL_LENGTH_MAX) throw rejected(`longer than ${WEBHOOK_URL_LENGTH_MAX} characters`);
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw rejected('not an absolute URL');
  }
  if (url.username !== '' || url.password !== '') throw rejected('one with a user name or password in it');
  const host = url.hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '');
  if (url.protocol === 'http:') {
    const local = host === 'localhost' || (isIPv4(host) && isLoopbackAddress(host));
    if (!local) throw rejected('plain http: use https');
    if (!allowLoopback) throw rejected('on this machine, which this server does not allow');
    return { url, allows: isLoopbackAddress };
  }
  if (url.protocol !== 'https:') throw rejected('not https');
  if (host === 'localhost' || host.endsWith('.localhost')) throw rejected('on this machine: use http for development');
  if (isIP(host) !== 0 && !isPublicAddress(host)) throw rejected('at an address that is not public');
  return { url, allows: isPublicAddress };
}

export function rejected(what: string): MillraceError {
  return new MillraceError('WEBHOOK_URL_REJECTED', `The webhook's URL is ${what}. Give a public https URL.`);
}

function blockList(ipv4: readonly string[], ipv6: readonly string[]): BlockList {
  const list = new BlockList();
  for (const [subnets, family] of [
    [ipv4, 'ipv4'],
    [ipv6, 'ipv6'],
  ] as const) {
    for (const subnet of subnets) {
      const [address, bits] = subnet.split('/') as [string, string];
      list.addSubnet(address, Number(bits), family);
    }
  }
  return list;
}
