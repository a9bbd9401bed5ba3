import { Command, Option } from 'commander';
import { isMillraceError } from '../errors.js';
import {
  DEFAULT_CONNECTIONS_MAX,
  DEFAULT_CONNECTIONS_PER_ADDRESS_MAX,
  DEFAULT_HOST,
  DEFAULT_HTTP_LIMITS,
  DEFAULT_PORT,
  DEFAULT_ROOT,
  type Log,
  type RunningServer,
  type ServerConfig,
  startServer,
} from '../server/index.js';
import { CommandFailed, EXIT } from './exit.js';
import { interruption } from './interrupt.js';
import { createLog, type LogOptions } from './log.js';
import { jsonOption, repeated, TIMER_MS_MAX, verboseOption, wholeNumber } from './options.js';

interface ServeOptions extends LogOptions, LimitOptions {
  readonly root?: string;
  readonly memory?: boolean;
  readonly host: string;
  readonly port: number;
  readonly hub?: string;
  readonly publicUrl?: string;
  readonly origin?: readonly string[];
  readonly hostName?: readonly string[];
  readonly webhooksToLoopback?: boolean;
  readonly connectionsMax?: number;
  readonly connectionsPerAddressMax?: number;
}

/** The limits that can be set on the command line; all others are for the library. */
interface LimitOptions {
  readonly bodyBytesMax?: number;
  readonly frameBytesMax?: number;
  readonly readBytesMax?: number;
  readonly followersMax?: number;
  readonly appendersMax?: number;
  readonly intakeBytesMax?: number;
  readonly intakeBytesPerAddressMax?: number;
  readonly appenderStallMs?: number;
  readonly appenderSilenceMs?: number;
  readonly heartbeatIntervalMs?: number;
  readonly longPollTimeoutMs?: number;
  readonly sseConnectionMs?: number;
  readonly drainMs?: number;
}

const LIMIT_DEFAULTS: Readonly<Record<string, number>> = {
  ...DEFAULT_HTTP_LIMITS,
  connectionsMax: DEFAULT_CONNECTIONS_MAX,
  connectionsPerAddressMax: DEFAULT_CONNECTIONS_PER_ADDRESS_MAX,
};

const limitOptions: readonly Option[] = [
  limit('--body-bytes-max <bytes>', 'largest body of one request that is appended as a whole', 1),
  limit('--frame-bytes-max <bytes>', 'largest WebSocket message, and line of an NDJSON upload', 1),
  limit('--read-bytes-max <bytes>', 'what a long-poll is answered with at most', 1),
  limit('--followers-max <n>', 'followers at one time', 1),
  limit('--appenders-max <n>', 'appender sessions at one time', 1),
  limit('--intake-bytes-max <bytes>', 'bytes that are on their way in, of all clients', 1),
  limit('--intake-bytes-per-address-max <bytes>', 'the same of one address; of this machine no limit', 1),
  limit('--appender-stall-ms <ms>', 'how long an appender may stop in the middle of a message', 1, TIMER_MS_MAX),
  limit('--appender-silence-ms <ms>', 'how long nothing at all may be heard of an appender', 1, TIMER_MS_MAX),
  limit('--heartbeat-interval-ms <ms>', 'how often a live connection gets a sign of life', 1, TIMER_MS_MAX),
  limit('--long-poll-timeout-ms <ms>', 'how long a long-poll waits for data', 1, TIMER_MS_MAX),
  limit('--sse-connection-ms <ms>', 'how long one SSE response of a stream lasts', 1, TIMER_MS_MAX),
  limit('--drain-ms <ms>', 'how long clients may take to end when the server stops', 0, TIMER_MS_MAX),
];

/** The help tells the default, which is the server's: what is not given is not set here. */
function limit(flags: string, description: string, min: number, max?: number): Option {
  const option = new Option(flags, description).argParser(wholeNumber(min, max)).helpGroup('Limits:');
  option.description += ` (default: ${LIMIT_DEFAULTS[option.attributeName()]})`;
  return option;
}

/** `millrace serve`: a server with everything in it, until it is told to stop. */
export function serveCommand(): Command {
  const command = new Command('serve')
    .description('Serve streams over HTTP, kept as plain files under a directory.')
    .addOption(new Option('--root <dir>', `directory of the streams (default: ${DEFAULT_ROOT})`).conflicts('memory'))
    .option('--memory', 'keep the streams in memory only: they are gone when the server ends')
    .option('--host <address>', 'address to listen on; 0.0.0.0 for all', DEFAULT_HOST)
    .addOption(
      new Option('--port <port>', 'port; 0 picks a free one').default(DEFAULT_PORT).argParser(wholeNumber(0, 65_535)),
    )
    .option(
      '--hub <url>',
      'broker behind /-/events and /-/publish, like redis://localhost (default: within the server)',
    )
    .option('--public-url <url>', 'scheme and host under which clients reach the server (default: as they name it)')
    .option('--host-name <name>', 'name under which clients reach the server; may be repeated', repeated)
    .option('--origin <origin>', 'origin whose pages may use the server, or * for all; may be repeated', repeated)
    .option('--webhooks-to-loopback', 'let webhooks go to http://localhost, for development')
    .addOption(verboseOption())
    .addOption(jsonOption())
    .addOption(limit('--connections-max <n>', 'connections at one time', 1))
    .addOption(limit('--connections-per-address-max <n>', 'connections of one address; of this machine no limit', 1));
  for (const option of limitOptions) command.addOption(option);
  return command.action(serve);
}

async function serve(options: ServeOptions): Promise<void> {
  const log = createLog(options);
  const interrupted = interruption();
  // Whoever waited for our one line may be gone since: the clients are not.
  process.stdout.on('error', () => undefined);
  try {
    const server = await start(options, log, interrupted.signal);
    if (server === undefined) return log.info({}, 'stopped before it was up');
    announce(server, options);
    const failure = await Promise.race([server.failed, aborted(interrupted.signal)]);
    if (failure === undefined) {
      log.info({}, 'stopping: no new work is taken, clients are brought to their end');
      await server.close();
      log.info({}, 'stopped');
      return;
    }
    // What was acknowledged is safe; what was not cannot be any more. Clients come back when there is a server again.
    await server.close({ drainMs: 0 }).catch(() => undefined);
    throw new CommandFailed(EXIT.storeFailed, failure);
  } finally {
    interrupted.stop();
  }
}

/** Undefined when the process was asked to end before the server was up. */
async function start(options: ServeOptions, log: Log, signal: AbortSignal): Promise<RunningServer | undefined> {
  const {
    root,
    memory,
    host,
    port,
    hub,
    publicUrl,
    origin,
    hostName,
    webhooksToLoopback,
    connectionsMax,
    connectionsPerAddressMax,
  } = options;
  const config: ServerConfig = {
    host,
    port,
    limits: limitsOf(options),
    ...(root === undefined ? {} : { root }),
    ...(memory === undefined ? {} : { memory }),
    ...(hub === undefined ? {} : { hub }),
    ...(publicUrl === undefined ? {} : { publicUrl }),
    ...(origin === undefined ? {} : { origins: origin }),
    ...(hostName === undefined ? {} : { hostNames: hostName }),
    ...(webhooksToLoopback === undefined ? {} : { webhooksToLoopback }),
    ...(connectionsMax === undefined ? {} : { connectionsMax }),
    ...(connectionsPerAddressMax === undefined ? {} : { connectionsPerAddressMax }),
  };
  try {
    return await startServer({ ...config, log, signal });
  } catch (error) {
    if (signal.aborted) return undefined;
    // Refused before anything was tried: what it names is an option of ours.
    throw new CommandFailed(isMillraceError(error, 'INVALID_ARGUMENT') ? EXIT.usage : EXIT.cannotStart, error);
  }
}

function limitsOf(options: LimitOptions): LimitOptions {
  const names = limitOptions.map((option) => option.attributeName() as keyof LimitOptions);
  return Object.fromEntries(names.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]));
}

/** The one line that says all is well, on standard output: whoever started us may wait for it. */
function announce(server: RunningServer, options: ServeOptions): void {
  const { url, root } = server;
  if (options.json === true) {
    console.log(JSON.stringify({ msg: 'listening', url, root: root ?? null }));
    return;
  }
  const place = root === undefined ? 'in memory' : `in ${root}`;
  console.log(
    `millrace serves ${url} with its streams ${place}. Try: date | curl -T - '${url}/hello.txt?verb=append'; curl ${url}/hello.txt`,
  );
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(undefined);
    signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}
