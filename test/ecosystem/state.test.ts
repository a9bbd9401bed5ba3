import { join } from 'node:path';
import { DurableStream } from '@durable-streams/client';
import { createStateSchema, createStreamDB } from '@durable-streams/state/db';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { serve, stopAll, temporaryDirectory } from '../cli/commands.js';

/** StreamDB of `@durable-streams/state`: tables that live in a stream of changes. */

interface User {
  readonly id: string;
  readonly name: string;
}

const isUser = (value: unknown): value is User =>
  typeof value === 'object' && value !== null && 'name' in value && typeof value.name === 'string';

const state = createStateSchema({
  users: {
    type: 'user',
    primaryKey: 'id',
    schema: {
      '~standard': {
        version: 1 as const,
        vendor: 'test',
        validate: (value: unknown) => (isUser(value) ? { value } : { issues: [{ message: 'no user' }] }),
      },
    },
  },
});

afterEach(stopAll);

describe('StreamDB', () => {
  it('fills its tables, hears of changes, and goes on over a restart of the server', async () => {
    const root = join(await temporaryDirectory(), 'root');
    const { command, url, port } = await serve('--root', root);
    const streamOptions = { url: `${url}/db/users`, contentType: 'application/json' };
    const stream = await DurableStream.create({ ...streamOptions, warnOnHttp: false });
    const append = (event: object) => stream.append(JSON.stringify(event));
    await append(state.users.insert({ value: { id: '1', name: 'Ada' } }));
    await append(state.users.insert({ value: { id: '2', name: 'Grace' } }));

    const db = createStreamDB({ streamOptions: { ...streamOptions, warnOnHttp: false }, state });
    try {
      await db.preload();
      expect(db.collections.users.get('1')?.name).toBe('Ada');
      expect(db.collections.users.get('2')?.name).toBe('Grace');
      expect(db.offset).not.toBe('-1');

      await append(state.users.update({ value: { id: '1', name: 'Lovelace' } }));
      await vi.waitFor(() => expect(db.collections.users.get('1')?.name).toBe('Lovelace'), { timeout: 20_000 });

      command.kill('SIGKILL');
      await command.exit;
      await serve('--root', root, '--port', port);
      await append(state.users.delete({ key: '2' }));
      await vi.waitFor(() => expect(db.collections.users.get('2')).toBeUndefined(), { timeout: 20_000 });
      expect(db.collections.users.get('1')?.name).toBe('Lovelace');
    } finally {
      db.close();
    }
  });
});
