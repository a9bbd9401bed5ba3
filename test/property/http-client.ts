import { Agent, type IncomingHttpHeaders, request } from 'node:http';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Plain requests over kept connections; quicker than `fetch`, and every byte of the request is ours. */
export class HttpClient {
  readonly #base: string;
  readonly #agent = new Agent({ keepAlive: true });

  constructor(base: string) {
    this.#base = base;
  }

  send(
    method: string,
    target: string,
    headers: Readonly<Record<string, string>> = {},
    body?: string | readonly string[],
    timeoutMs = 10_000,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const req = request(`${this.#base}${target}`, { method, headers, agent: this.#agent }, (res) => {
        const chunks: Buffer[] = [];
        res.on('data', (chunk: Buffer) => chunks.push(chunk));
        res.on('error', reject);
        res.on('end', () =>
          resolve({
            status: res.statusCode ?? 0,
            headers: res.headers,
            body: Buffer.concat(chunks).toString('utf8'),
          }),
        );
      });
      req.setTimeout(timeoutMs, () => req.destroy(new Error(`${method} ${target} took too long`)));
      req.on('error', reject);
      // Several parts go out as chunks of their own.
      if (Array.isArray(body)) for (const part of body) req.write(part);
      req.end(typeof body === 'string' ? body : undefined);
    });
  }

  /** Reads a response that does not end by itself until `enough` says so. */
  readUntil(target: string, enough: (text: string) => boolean): Promise<string> {
    return new Promise((resolve, reject) => {
      const req = request(`${this.#base}${target}`, { agent: false }, (res) => {
        let text = '';
        const finish = () => {
          clearTimeout(timer);
          res.destroy();
          resolve(text);
        };
        const timer = setTimeout(() => req.destroy(new Error(`${target} did not say enough: ${text}`)), 10_000);
        res.on('data', (chunk: Buffer) => {
          text += chunk.toString('utf8');
          if (enough(text)) finish();
        });
        res.on('end', finish);
      });
      req.on('error', reject);
      req.end();
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
