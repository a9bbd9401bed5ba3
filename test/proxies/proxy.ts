import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { it } from 'vitest';
import { BrokerProcess, freePorts } from '../brokers/broker-process.js';

/**
 * The proxies' own time-outs are divided by this, and our limits with them, so that a test of them takes seconds. With
 * MILLRACE_PROXY_TIMES=real both have their defaults: `MILLRACE_PROXY_TIMES=real npx vitest run test/proxies` takes some minutes.
 */
export const TIMES_DIVIDED_BY = process.env.MILLRACE_PROXY_TIMES === 'real' ? 1 : 40;

/** A time-out of a proxy, or a limit of ours, as the tests run it. */
export function times(ms: number): number {
  return ms / TIMES_DIVIDED_BY;
}

/**
 * The path of a proxy, as `scripts/proxies/<name>` finds or gets it. Where it cannot the file is skipped, with what to do;
 * with MILLRACE_REQUIRE_PROXIES=1, as in CI, it fails.
 */
export async function findProxy(name: string): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)(`scripts/proxies/${name}`, { encoding: 'utf8' });
    return stdout.trim();
  } catch (error) {
    const why = String((error as { stderr?: unknown }).stderr ?? error).trim();
    if (process.env.MILLRACE_REQUIRE_PROXIES === '1') throw new Error(why);
    // Reporters that only count do not show names.
    console.warn(`Skipping the tests behind ${name}. ${why}`);
    it(`${name} (skipped: ${why})`, { skip: true }, () => {});
    return undefined;
  }
}

/** A proxy of its own before a server. */
export interface RunningProxy {
  readonly port: number;
  readonly url: string;
  stop(): Promise<void>;
}

/** Starts a proxy whose configuration is written for a free port and a folder of its own. */
async function start(
  program: string,
  config: (port: number, folder: string) => string,
  args: (file: string, folder: string) => readonly string[],
): Promise<RunningProxy> {
  const [port = 0] = await freePorts(1);
  const folder = await mkdtemp(join(tmpdir(), 'millrace-proxy-'));
  const file = join(folder, 'proxy.conf');
  await writeFile(file, config(port, folder));
  const proxy = new BrokerProcess(program, args(file, folder), [port]);
  await proxy.start();
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    async stop() {
      await proxy.kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** nginx with nothing but what it cannot do without; `http` stands in its block `http`. */
function startNginxWith(program: string, http: (port: number) => string): Promise<RunningProxy> {
  const config = (port: number, folder: string) => `
    daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/errors;
    events {}
    http {
      access_log off;
      ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join('\n')}
      ${http(port)}
    }`;
  return start(program, config, (file, folder) => ['-c', file, '-p', folder]);
}

/** nginx as it comes: a `proxy_pass`, and its time-out of 60 s as {@link times} has it. */
export function startNginx(program: string, upstreamPort: number, extra = ''): Promise<RunningProxy> {
  return startNginxWith(
    program,
    (port) => `proxy_read_timeout ${times(60_000)}ms; client_body_timeout ${times(60_000)}ms;
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://127.0.0.1:${upstreamPort}; ${extra} } }`,
  );
}

/** nginx as docs/proxies.md says. */
export async function startDocumentedNginx(program: string, upstreamPort: number): Promise<RunningProxy> {
  const documented = await documentedConfig('nginx');
  return startNginxWith(program, (port) =>
    documented
      .replace('listen 80;', `listen 127.0.0.1:${port};`)
      .replace('127.0.0.1:4437', `127.0.0.1:${upstreamPort}`),
  );
}

/** HAProxy with the time-outs of 50 s that its packages come with, as {@link times} has them. */
export function startHaproxy(program: string, upstreamPort: number): Promise<RunningProxy> {
  const config = (port: number) => `
defaults
  mode http
  timeout connect 5000
  timeout client ${times(50_000)}
  timeout server ${times(50_000)}
frontend web
  bind 127.0.0.1:${port}
  default_backend millrace
backend millrace
  server millrace 127.0.0.1:${upstreamPort}
`;
  return start(program, config, (file) => ['-f', file]);
}

/** HAProxy as docs/proxies.md says. */
export async function startDocumentedHaproxy(program: string, upstreamPort: number): Promise<RunningProxy> {
  const documented = await documentedConfig('haproxy');
  const config = (port: number) =>
    documented.replace('bind :80', `bind 127.0.0.1:${port}`).replace('127.0.0.1:4437', `127.0.0.1:${upstreamPort}`);
  return start(program, config, (file) => ['-f', file]);
}

/** The configuration of a proxy in docs/proxies.md. */
async function documentedConfig(name: string): Promise<string> {
  const page = await readFile('docs/proxies.md', 'utf8');
  const found = new RegExp(`^\`\`\`${name}\n(.*?)^\`\`\`$`, 'ms').exec(page)?.[1];
  if (found === undefined) throw new Error(`docs/proxies.md has no configuration of ${name}`);
  return found;
}
