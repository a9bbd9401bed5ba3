import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import {
  createHub,
  type Driver,
  type Hub,
  type HubEvent,
  type HubOptions,
  type HubSubscription,
} from '../hub/index.js';

/** How long a case waits for something that is sure to come. */
const ARRIVAL_TIMEOUT_MS = 20_000;

/** Makes hubs for one case and closes them at its end, whatever happens. */
export class HubBench {
  readonly #makeDriver: () => Driver<unknown>;
  readonly #hubs: Hub[] = [];
  readonly #children: ChildProcess[] = [];
  readonly #run = Math.random().toString(36).slice(2, 8);
  #channels = 0;

  constructor(makeDriver: () => Driver<unknown>) {
    this.#makeDriver = makeDriver;
  }

  /** A hub with a connection of its own. */
  async hub(options: Omit<HubOptions, 'url' | 'driver'> = {}): Promise<Hub> {
    const hub = createHub({ ...options, driver: this.#makeDriver() });
    this.#hubs.push(hub);
    await hub.connect();
    return hub;
  }

  /** A channel that no other case uses, short enough for any broker. */
  channel(): string {
    this.#channels++;
    return `suite-${this.#run}-${this.#channels}`;
  }

  /** Runs `program` (ES module text) in a process of its own, which must print lines. */
  child(program: string, env: Readonly<Record<string, string>>): Child {
    const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#children.push(child);
    return new Child(child);
  }

  async end(): Promise<void> {
    await Promise.all(this.#hubs.map((hub) => hub.close()));
    for (const child of this.#children) if (child.exitCode === null) child.kill('SIGKILL');
  }
}

/** A process that talks in lines. */
export class Child {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #exit: Promise<unknown[]>;
  #errors = '';

  constructor(child: ChildProcess) {
    this.#process = child;
    assert(child.stdout !== null && child.stderr !== null);
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    child.stderr.on('data', (data) => {
      this.#errors += data;
    });
    this.#exit = once(child, 'exit');
  }

  /** The next line that it prints. */
  async line(): Promise<string> {
    const { value, done } = await within(this.#lines.next(), 'a line from the other process');
    assert(!done, `the other process ended early: ${this.#errors}`);
    return value;
  }

  /** Waits until it ends by itself, which it must do without an error. */
  async exits(): Promise<void> {
    const [code] = await within(this.#exit, 'the other process to exit by itself');
    assert.equal(code, 0, this.#errors);
    assert.equal(this.#errors, '', 'the other process printed no errors');
  }

  say(line: string): void {
    this.#process.stdin?.write(`${line}\n`);
  }
}

/** `work`, or a failure that names what did not come in time. */
export async function within<T>(work: Promise<T>, what: string, timeoutMs = ARRIVAL_TIMEOUT_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Waited ${timeoutMs} ms for ${what}.`)), timeoutMs);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** The next `count` messages of a subscription; a gap among them is a failure. */
export async function take(subscription: HubSubscription<HubEvent>, count: number): Promise<unknown[]> {
  const messages: unknown[] = [];
  while (messages.length < count) {
    const { value, done } = await within(subscription.next(), `message ${messages.length + 1} of ${count}`);
    assert(!done, `the subscription ended after ${messages.length} of ${count} messages`);
    assert(value.gap === undefined, `there was a gap: ${JSON.stringify(value.gap)}`);
    messages.push(value.message);
  }
  return messages;
}

/** Waits until a hub has this status. */
export async function status(hub: Hub, wanted: Hub['status'], timeoutMs = ARRIVAL_TIMEOUT_MS): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (hub.status !== wanted) {
    assert(Date.now() < deadline, `the hub is ${hub.status}, and was to become ${wanted}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Fails unless `work` rejects with this code. */
export async function rejects(work: Promise<unknown>, code: string): Promise<void> {
  await assert.rejects(within(work, `a rejection with ${code}`), (error: { code?: unknown }) => {
    assert.equal(error.code, code);
    return true;
  });
}
