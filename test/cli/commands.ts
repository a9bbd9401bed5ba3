import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { vi } from 'vitest';

// Each command is a process of its own: on a busy machine some seconds pass before it has begun.
vi.setConfig({ testTimeout: 90_000 });

/** The built command. */
export const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** Everything that was started by a test, ended by {@link stopAll}. */
const started = new Set<RunningCommand>();
const directories = new Set<string>();

/** How a command is run. */
export interface CommandOptions {
  /** Working directory. */
  readonly cwd?: string;
  /** Options of Node itself. */
  readonly nodeOptions?: readonly string[];
}

/** A command of ours that runs as a process of its own. */
export class RunningCommand {
  readonly process: ChildProcess;
  /** Resolves with the exit code, or the signal that ended it, once all output was read. */
  readonly exit: Promise<number | NodeJS.Signals>;
  readonly #output: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
  readonly #watchers = new Set<() => void>();

  constructor(args: readonly string[], { cwd, nodeOptions = [] }: CommandOptions = {}) {
    const options = { stdio: 'pipe', ...(cwd === undefined ? {} : { cwd }) } as const;
    this.process = spawn(process.execPath, [...nodeOptions, MAIN, ...args], options);
    for (const name of ['stdout', 'stderr'] as const) {
      this.process[name]?.on('data', (data: Buffer) => {
        this.#output[name].push(data);
        for (const watcher of this.#watchers) watcher();
      });
    }
    this.process.stdin?.on('error', () => undefined);
    this.exit = new Promise((resolve, reject) => {
      this.process.once('error', reject);
      this.process.once('close', (code, signal) => {
        resolve(code ?? (signal as NodeJS.Signals));
        for (const watcher of this.#watchers) watcher();
      });
    });
  }

  get stdout(): Buffer {
    return Buffer.concat(this.#output.stdout);
  }

  get stderr(): string {
    return Buffer.concat(this.#output.stderr).toString();
  }

  /** Writes to its standard input. */
  type(data: string | Uint8Array): void {
    this.process.stdin?.write(data);
  }

  /** Ends its standard input. */
  endInput(data?: string | Uint8Array): void {
    if (data === undefined) this.process.stdin?.end();
    else this.process.stdin?.end(data);
  }

  kill(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }

  /** Resolves once `condition` holds of its output. Rejects when the process ends without. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.process.exitCode !== null || this.process.signalCode !== null) {
        await this.exit;
        if (condition()) return;
        throw new Error(`ended without what was waited for; standard error: ${this.stderr}`);
      }
      let watcher: () => void = () => undefined;
      await new Promise<void>((resolve) => {
        watcher = resolve;
        this.#watchers.add(watcher);
      });
      this.#watchers.delete(watcher);
    }
  }

  /** Resolves once it has printed this. */
  prints(text: string): Promise<void> {
    return this.until(() => this.stdout.includes(text));
  }

  /** Resolves once standard error holds this. */
  notes(text: string): Promise<void> {
    return this.until(() => this.stderr.includes(text));
  }
}

/** Starts `millrace` with these arguments. */
export function millrace(...args: string[]): RunningCommand {
  return millraceWith({}, ...args);
}

/** The same, run in another way. */
export function millraceWith(options: CommandOptions, ...args: string[]): RunningCommand {
  const command = new RunningCommand(args, options);
  started.add(command);
  return command;
}

/** A server that listens. */
export interface ServeCommand {
  readonly command: RunningCommand;
  readonly url: string;
  readonly port: string;
}

/** Starts `millrace serve` and waits until it listens: on a free port unless told otherwise. */
export async function serve(...args: string[]): Promise<ServeCommand> {
  const command = millrace('serve', ...(args.includes('--port') ? [] : ['--port', '0']), ...args);
  await command.prints('\n');
  const url = /http:\/\/[^ "]+/.exec(command.stdout.toString())?.[0] ?? '';
  return { command, url, port: new URL(url).port };
}

/** Listens, and answers the port. */
export async function listening(server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return (server.address() as AddressInfo).port;
}

/** A server of any protocol that takes connections and never answers. */
export class SilentServer {
  readonly #server = createServer((socket) => this.#sockets.add(socket.on('error', () => undefined)));
  readonly #sockets = new Set<Socket>();

  /** Answers the port. */
  start(): Promise<number> {
    return listening(this.#server);
  }

  /** Resolves when somebody has connected. */
  async connected(): Promise<void> {
    if (this.#sockets.size === 0) await once(this.#server, 'connection');
  }

  stop(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** A directory for this test. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'millrace-cli-'));
  directories.add(directory);
  return directory;
}

/** Ends everything that the test has started, and removes its directories. For `afterEach`. */
export async function stopAll(): Promise<void> {
  for (const { process } of started) {
    process.kill('SIGCONT');
    process.kill('SIGKILL');
  }
  await Promise.all([...started].map((command) => command.exit));
  started.clear();
  await Promise.all([...directories].map((directory) => rm(directory, { recursive: true, force: true })));
  directories.clear();
}
