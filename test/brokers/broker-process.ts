import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { connect as connectSocket, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

/** How long a broker may take to listen. */
export const START_TIMEOUT_MS = 90_000;

/** Below the range from which the system itself gives ports: nothing takes one between the look and the start. */
const PORT_MIN = 12_000;
const PORT_MAX = 32_000;

/** Ports of the loopback address that nobody listens on. */
export async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const port = PORT_MIN + Math.floor(Math.random() * (PORT_MAX - PORT_MIN));
    if (!ports.includes(port) && (await isFree(port))) ports.push(port);
  }
  return ports;
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    return false;
  }
  await once(server.close(), 'close');
  return true;
}

/** A broker's programs are not on this machine, and could not be got. The message says what to do. */
export class BrokerMissing extends Error {}

/** The folder of a broker's programs as `scripts/brokers/<name>` tells it; it gets them first if need be. */
export async function brokerFolder(name: string): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(`scripts/brokers/${name}`, { encoding: 'utf8' });
    return stdout.trim();
  } catch (error) {
    throw new BrokerMissing(String((error as { stderr?: unknown }).stderr ?? error).trim());
  }
}

/** Whatever still runs when this process ends goes with it. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** A server program of a broker, which can be killed and started again at the same address. */
export class BrokerProcess {
  readonly #command: string;
  readonly #args: readonly string[];
  readonly #ports: readonly number[];
  #process: ChildProcess | undefined;
  #output = '';

  /** @param ports It has started when it takes connections on all of them. */
  constructor(command: string, args: readonly string[], ports: readonly number[]) {
    this.#command = command;
    this.#args = args;
    this.#ports = ports;
  }

  async start(): Promise<void> {
    const child = spawn(this.#command, this.#args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process = child;
    running.add(child);
    child.once('exit', () => running.delete(child));
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (text) => {
        this.#output = (this.#output + text).slice(-10_000);
      });
    }
    const exited = once(child, 'exit');
    exited.catch(() => {});
    const deadline = Date.now() + START_TIMEOUT_MS;
    for (const port of this.#ports) {
      while (!(await accepts(port))) {
        if (child.exitCode !== null || child.signalCode !== null || Date.now() > deadline) {
          throw new Error(`${this.#command} did not start:\n${this.#output}`);
        }
        await sleep(20);
      }
    }
  }

  /** `SIGSTOP` makes it hang, `SIGCONT` goes on. */
  signal(name: NodeJS.Signals): void {
    this.#process?.kill(name);
    if (name === 'SIGSTOP') untilStopped(this.#process?.pid as number);
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }
}

/** A signal takes its time, and a thread that still runs may answer meanwhile. */
function untilStopped(pid: number): void {
  const tasks = `/proc/${pid}/task`;
  if (!existsSync(tasks)) return;
  const stateOf = (task: string) => readFileSync(`${tasks}/${task}/stat`, 'utf8').replace(/^.*\) /s, '')[0];
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!readdirSync(tasks).every((task) => stateOf(task) === 'T')) {
    if (Date.now() > deadline) throw new Error(`process ${pid} does not stop`);
  }
}

async function accepts(port: number): Promise<boolean> {
  const socket = connectSocket(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
