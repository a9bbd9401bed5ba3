import { lookup as resolve } from 'node:dns';
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { combineSignals } from '../signals.js';
import { rejected, type WebhookTarget } from './webhook-url.js';

/** Of a webhook's response no more than this is read. */
export const WEBHOOK_RESPONSE_BYTES_MAX = 64 * 1024;

export interface WebhookRequest {
  readonly target: WebhookTarget;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
  /** For the whole exchange. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

export interface WebhookResponse {
  readonly status: number;
  /** As much as may be read of it. */
  readonly body: string;
}

/**
 * Posts to a webhook. Redirects are not followed: their target was never checked. The addresses of the host are checked
 * as they are resolved and the connection goes to a checked one, so that a name cannot change its meaning in between.
 * Rejects with `WEBHOOK_URL_REJECTED`, or whatever went wrong on the way.
 */
export function postWebhook(webhook: WebhookRequest): Promise<WebhookResponse> {
  const { url, allows } = webhook.target;
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) !== 0 && !allows(host)) return Promise.reject(rejected('at an address that is not allowed'));
  const request = url.protocol === 'https:' ? requestHttps : requestHttp;
  const { signal, release } = combineSignals([webhook.signal], webhook.timeoutMs);
  const answer = new Promise<WebhookResponse>((fulfil, reject) => {
    const outgoing = request(
      url,
      {
        method: 'POST',
        agent: false,
        signal,
        lookup: checkedLookup(allows),
        headers: {
          ...webhook.headers,
          'Content-Type': 'application/json',
          'Content-Length': Buffer.byteLength(webhook.body),
        },
      },
      (response) => {
        const status = response.statusCode ?? 0;
        const chunks: Buffer[] = [];
        let size = 0;
        const finish = () => fulfil({ status, body: Buffer.concat(chunks).toString('utf8') });
        response.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size <= WEBHOOK_RESPONSE_BYTES_MAX) chunks.push(chunk);
          else {
            finish();
            response.destroy();
          }
        });
        response.on('end', finish);
        response.on('error', reject);
      },
    );
    outgoing.on('error', reject);
    outgoing.end(webhook.body);
  });
  return answer.finally(release);
}

/** DNS as usual, but the answer is an error as soon as one address is not allowed. */
function checkedLookup(allows: (address: string) => boolean): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, []);
      if (addresses.length === 0 || !addresses.every(({ address }) => allows(address))) {
        return callback(rejected('at a host whose address is not allowed'), []);
      }
      if (options.all === true) return callback(null, addresses);
      const [first] = addresses as [{ address: string; family: number }];
      return callback(null, first.address, first.family);
    });
  };
}
