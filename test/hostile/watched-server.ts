import { readFileSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { type CommandOptions, millraceWith, stopAll } from '../cli/commands.js';

/**
 * What the tests of this folder share: the server as a process of its own with its default budgets, hostile clients on
 * plain sockets beside it, and a witness that has to be served all the while.
 */

/** How far one client may raise the memory of a server, whatever it does. */
export const RISE_MIB_MAX = 300;

/** How much of the event loop's own processor time may pass while one small request waits. */
export const TURN_MS_MAX = 1_500;

/** Ends every server that a test has started. For `afterEach`. */
export { stopAll };

/** A server whose memory and processor time can be read while others attack it. */
export class WatchedServer {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** The resident memory of the idle server, in bytes. */
  readonly idleBytes: number;
  readonly #exited: () => string | undefined;

  private constructor(url: string, pid: number, exited: () => string | undefined) {
    this.url = url;
    this.port = Number(new URL(url).port);
    this.pid = pid;
    this.#exited = exited;
    // From here on VmHWM is the peak since now.
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
    this.idleBytes = this.#status('VmRSS');
  }

  /** Starts `millrace serve` in memory, or with the arguments that are given, and lets it settle. */
  static async start(args: readonly string[] = ['--memory'], options: CommandOptions = {}): Promise<WatchedServer> {
    const command = millraceWith(options, 'serve', '--port', '0', ...args);
    await command.prints('\n');
    const url = /http:\/\/[^ "]+/.exec(command.stdout.toString())?.[0] ?? '';
    const { port } = new URL(url);
    // The code that every request needs is loaded and compiled by the time that it is called idle.
    const witness = new Witness(Number(port));
    await witness.served(200);
    await witness.stop();
    const exited = () =>
      command.process.exitCode === null && command.process.signalCode === null ? undefined : command.stderr;
    return new WatchedServer(url, command.process.pid as number, exited);
  }

  /** How far the resident memory has ever risen above that of the idle server, in MiB. */
  get riseMiB(): number {
    const stderr = this.#exited();
    if (stderr !== undefined) throw new Error(`The server has ended: ${stderr}`);
    return (this.#status('VmHWM') - this.idleBytes) / 2 ** 20;
  }

  /** Processor time that the thread of the event loop has used, in ms. Other programs on the machine do not count. */
  get loopMs(): number {
    return loopMsOf(this.pid);
  }

  /** Somebody who is to be served all the while. */
  witness(): Witness {
    return new Witness(this.port, this.pid);
  }

  #status(field: string): number {
    const line = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'));
    return Number(line?.[1]) * 1024;
  }
}

function loopMsOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ', 1)[0]) / 1e6;
}

let witnesses = 0;

/** A modest client: it appends a line to a stream of its own, reads it, and so on, on one connection. */
export class Witness {
  /** The most processor time that the event loop used while one of its requests waited. */
  worstMs = 0;
  readonly #port: number;
  readonly #pid: number | undefined;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #path = `/witness-${++witnesses}.txt`;
  readonly #done: Promise<void>;
  #answers = 0;
  #ended = false;
  #told = () => {};

  constructor(port: number, pid?: number) {
    this.#port = port;
    this.#pid = pid;
    this.#done = this.#run();
    this.#done.catch(() => this.#told());
  }

  /** Resolves when so many more of its requests were answered. Rejects if one was not, or not as it should be. */
  async served(count: number): Promise<void> {
    const wanted = this.#answers + count;
    const reached = new Promise<void>((resolve) => {
      this.#told = () => {
        if (this.#ended || this.#answers >= wanted) resolve();
      };
    });
    await Promise.race([reached, this.#done]);
    if (this.#ended) await this.#done;
  }

  /** Ends it. Rejects if one of its requests was not answered as it should be. */
  async stop(): Promise<void> {
    this.#ended = true;
    await this.#done.finally(() => this.#agent.destroy());
  }

  async #run(): Promise<void> {
    try {
      await this.#ask('PUT', 201);
      while (!this.#ended) {
        await this.#ask('POST', 204, 'a line\n');
        await this.#ask('HEAD', 200);
      }
    } catch (error) {
      this.#ended = true;
      throw error;
    }
  }

  #ask(method: string, status: number, body?: string): Promise<void> {
    const before = this.#pid === undefined ? 0 : loopMsOf(this.#pid);
    return new Promise((resolve, reject) => {
      const options = {
        host: '127.0.0.1',
        port: this.#port,
        agent: this.#agent,
        method,
        path: this.#path,
        headers: { 'Content-Type': 'text/plain' },
        timeout: 30_000,
      };
      const req = request(options, (res) => {
        res.resume();
        res.on('end', () => {
          if (res.statusCode !== status) return reject(new Error(`The witness got ${res.statusCode} for ${method}.`));
          if (this.#pid !== undefined) this.worstMs = Math.max(this.worstMs, loopMsOf(this.#pid) - before);
          this.#answers++;
          this.#told();
          resolve();
        });
      });
      req.on('error', reject);
      req.on('timeout', () => req.destroy(new Error(`The witness was not answered: ${method}.`)));
      req.end(body);
    });
  }
}

/** A plain connection that says nothing by itself, reads what comes, and survives whatever the server does to it. */
export function hostileSocket(port: number, host = '127.0.0.1'): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, host, () => resolve(socket));
    socket.once('data', (data: Buffer) => statuses.set(socket, data.toString('latin1', 9, 12)));
    socket.once('error', reject);
    socket.on('error', () => {});
  });
}

const statuses = new WeakMap<Socket, string>();

/** The statuses that they were answered with first, each once; who was not answered is left out. */
export function statusesOf(sockets: readonly Socket[]): string[] {
  return [...new Set(sockets.flatMap((socket) => statuses.get(socket) ?? []))].sort();
}

/**
 * Sends as much of the pieces as the server takes: until all is sent, the connection is over, or the server has taken
 * nothing more while the witness was served a few hundred times. Answers how many bytes the server has taken, about.
 */
export async function sendWhileTaken(
  socket: Socket,
  pieces: Iterable<Uint8Array>,
  witness: Witness,
  answersMax = 200,
): Promise<number> {
  let sent = 0;
  for (const piece of pieces) {
    if (socket.destroyed) return sent;
    const drained = socket.write(piece) || (await takes(socket, witness, answersMax));
    if (!drained) return sent;
    sent += piece.length;
  }
  return sent;
}

/** Whether the socket's peer takes what was written, or ends it, before the witness was served so often. */
async function takes(socket: Socket, witness: Witness, answersMax: number): Promise<boolean> {
  let taken = () => {};
  const settled = new Promise<true>((resolve) => {
    taken = () => resolve(true);
    socket.once('drain', taken).once('close', taken);
  });
  const result = await Promise.race([settled, witness.served(answersMax).then(() => false as const)]);
  socket.off('drain', taken).off('close', taken);
  return result && !socket.destroyed;
}
