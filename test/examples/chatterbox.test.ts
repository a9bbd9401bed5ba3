import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { afterEach, describe, expect, it } from 'vitest';
import { EventStream } from '../../src/event-stream/index.js';

const EXAMPLE = 'examples/chatterbox';

interface RoomEvent {
  readonly who: string;
  readonly what: 'INITIALIZED' | 'CHAT' | 'JOIN' | 'LEAVE';
  readonly text: string;
}

interface ChatterBoxClient extends grpc.Client {
  chat(): grpc.ClientDuplexStream<{ text: string }, RoomEvent>;
  monitor(empty: object): grpc.ClientReadableStream<RoomEvent>;
}

/** One running command of the example, and what it printed. */
class Command {
  readonly process: ChildProcess;
  readonly lines: string[] = [];
  readonly #printed = new EventStream<string>();
  readonly #beginning = this.#printed.position();

  constructor(...args: string[]) {
    this.process = spawn(process.execPath, [`${EXAMPLE}/main.mjs`, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
    const output = createInterface({ input: this.process.stdout as NodeJS.ReadableStream });
    output.on('line', (line) => {
      this.lines.push(line);
      this.#printed.publish(line);
    });
    output.once('close', () => this.#printed.close());
    cleanups.push(async () => {
      if (this.process.exitCode !== null || this.process.signalCode !== null) return;
      this.process.kill('SIGKILL');
      await once(this.process, 'exit');
    });
  }

  say(text: string): void {
    this.process.stdin?.write(`${text}\n`);
  }

  /** The first line that it printed, or prints next, which matches. */
  async printed(pattern: RegExp): Promise<string> {
    for await (const line of this.#beginning) if (pattern.test(line)) return line;
    throw new Error(`ended without printing ${pattern}; it printed:\n${this.lines.join('\n')}`);
  }

  async exit(): Promise<number | null> {
    if (this.process.exitCode === null) await once(this.process, 'exit');
    return this.process.exitCode;
  }
}

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

async function startServer(...args: string[]): Promise<{ server: Command; address: string }> {
  const server = new Command('server', '--address', '127.0.0.1:0', ...args);
  const address = (await server.printed(/^Listening on /)).replace('Listening on ', '');
  return { server, address };
}

function connect(address: string): ChatterBoxClient {
  const definition = loadSync(`${EXAMPLE}/chatterbox.proto`, { enums: String, defaults: true });
  const { ChatterBox } = grpc.loadPackageDefinition(definition).chatterbox as unknown as {
    ChatterBox: new (address: string, credentials: grpc.ChannelCredentials) => ChatterBoxClient;
  };
  const client = new ChatterBox(address, grpc.credentials.createInsecure());
  cleanups.push(() => client.close());
  return client;
}

/** What a server holds in memory, in MiB, as the system counts it. */
function residentMiB(pid: number): number {
  const kibibytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kibibytes) / 1024;
}

describe('chatterbox', () => {
  it('tells who is here, who comes, what is said and who goes', async () => {
    const { server, address } = await startServer();
    const monitor = new Command('monitor', '--address', address);
    await monitor.printed(/^Members: $/);
    const anna = new Command('client', '--address', address);
    await anna.printed(/^Members: User 1$/);
    const bert = new Command('client', '--address', address);
    await bert.printed(/^Members: User 1, User 2$/);
    bert.say('good morning');
    await anna.printed(/^User 2: good morning$/);
    bert.process.stdin?.end();
    expect(await bert.exit()).toBe(0);
    await anna.printed(/^User 2 left \(1 here\)$/);
    anna.process.kill('SIGINT');
    expect(await anna.exit()).toBe(0);
    await monitor.printed(/^User 1 left \(0 here\)$/);
    expect(monitor.lines.slice(1)).toEqual([
      'User 1 joined (1 here)',
      'User 2 joined (2 here)',
      'User 2: good morning',
      'User 2 left (1 here)',
      'User 1 left (0 here)',
    ]);
    server.process.kill('SIGTERM');
    expect(await server.exit()).toBe(0);
  });

  it('agrees with every member on one order of everything that happens, under load', async () => {
    const { address } = await startServer();
    const talkers = 4;
    const each = 500;
    const members: Command[] = [];
    for (let number = 1; number <= talkers; number++) {
      const member = new Command('client', '--address', address);
      await member.printed(new RegExp(`^Members: .*User ${number}$`));
      members.push(member);
    }
    for (const member of members) {
      for (let line = 1; line <= each; line++) member.say(`line ${line}`);
    }
    await Promise.all(
      members.flatMap((member) => members.map((_, at) => member.printed(new RegExp(`^User ${at + 1}: line ${each}$`)))),
    );
    const last = members[talkers - 1] as Command;
    last.process.stdin?.end();
    await last.exit();
    await Promise.all(members.slice(0, -1).map((member) => member.printed(/^User 4 left \(3 here\)$/)));

    const told = members.map((member) => member.lines.filter((line) => /: line |left/.test(line)));
    expect(told[0]).toHaveLength(talkers * each + 1);
    for (const lines of told.slice(1)) expect(lines).toEqual(told[0]);
    for (let number = 1; number <= talkers; number++) {
      const own = told[0]?.filter((line) => line.startsWith(`User ${number}: `));
      expect(own).toEqual(Array.from({ length: each }, (_, at) => `User ${number}: line ${at + 1}`));
    }
  });

  it('joins again by itself when the server comes back, and says then what was typed meanwhile', async () => {
    const { server, address } = await startServer();
    const member = new Command('client', '--address', address);
    await member.printed(/^Members: User 1$/);
    server.process.kill('SIGKILL');
    await member.printed(/^Connection lost/);
    member.say('are you there?');
    const again = new Command('server', '--address', address);
    await again.printed(/^Listening on /);
    await member.printed(/^User 1: are you there\?$/);
  });

  it('ends with its input, also while the server is away', async () => {
    const { server, address } = await startServer();
    const member = new Command('client', '--address', address);
    await member.printed(/^Members: User 1$/);
    server.process.kill('SIGKILL');
    await member.printed(/^Connection lost/);
    member.process.stdin?.end();
    expect(await member.exit()).toBe(0);
  });

  it('lets a slow member cost nothing but its place, and tells it what it missed', { timeout: 120_000 }, async () => {
    const maxLag = 1_000;
    const { server, address } = await startServer('--max-lag', String(maxLag));
    const slow = connect(address).monitor({});
    slow.pause();
    slow.on('error', () => {});
    await once(slow, 'readable');

    const talker = connect(address).chat();
    const text = 'x'.repeat(2_000);
    let heard = 0;
    let sent = 0;
    const messages = 60_000;
    const before = residentMiB(server.process.pid as number);
    const allHeard = new Promise<void>((resolve, reject) => {
      talker.on('error', reject);
      talker.on('data', (event: RoomEvent) => {
        if (event.what !== 'CHAT') return;
        heard++;
        if (heard === messages) resolve();
        else say();
      });
    });
    // The talker stays within 100 messages of what it has heard back, so that only the slow one lags.
    const say = () => {
      while (sent < messages && sent - heard < 100) {
        sent++;
        talker.write({ text });
      }
    };
    say();
    await allHeard;
    // 120 MB went by. A queue per member would hold them, on top of what the engine itself grows by under load (50 to 65
    // MiB were seen); the bound holds 2 MB.
    expect(residentMiB(server.process.pid as number) - before).toBeLessThan(110);

    const end = new Promise<grpc.ServiceError>((resolve) => slow.on('error', resolve));
    slow.on('data', () => {});
    const error = await end;
    expect(error.code).toBe(grpc.status.RESOURCE_EXHAUSTED);
    expect(error.details).toMatch(/^\d+ events were missed: read faster, and join again\.$/);
    talker.cancel();
  });

  it('says what to do about an unknown command', async () => {
    const command = spawn(process.execPath, [`${EXAMPLE}/main.mjs`, 'dance'], { stdio: ['ignore', 'ignore', 'pipe'] });
    let told = '';
    command.stderr.on('data', (chunk) => {
      told += chunk;
    });
    const [code] = await once(command, 'close');
    expect(code).toBe(1);
    expect(told).toContain('main.mjs client');
  });
});
