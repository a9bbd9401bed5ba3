import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { append, openAppend } from '../../src/client/index.js';
import { type RunningServer, startServer } from '../../src/server/index.js';

let server: RunningServer;
beforeEach(async () => {
  server = await startServer({ memory: true, port: 0 });
});
afterEach(() => server.close({ drainMs: 0 }));

async function ask(pathAndQuery: string): Promise<[status: number, code: string]> {
  const response = await fetch(`${server.url}${pathAndQuery}`);
  return [response.status, ((await response.json()) as { code: string }).code];
}

describe('a request that needs a WebSocket and comes without the upgrade', () => {
  it('is refused for the reason that the upgrade would be refused for', async () => {
    expect(await ask('/none.txt?live=ws')).toEqual([404, 'STREAM_NOT_FOUND']);
    await append(`${server.url}/a.txt`, 'abc');
    expect(await ask('/a.txt?live=ws&offset=0000000000000004')).toEqual([400, 'OFFSET_OUT_OF_RANGE']);
    expect(await ask('/a.txt?live=ws&offset=abc')).toEqual([400, 'INVALID_OFFSET']);
    const first = await openAppend(`${server.url}/a.txt`, { closeStream: true });
    expect(await ask('/a.txt?verb=append')).toEqual([403, 'APPENDER_ACTIVE']);
    await first.close();
    expect(await ask('/a.txt?verb=append')).toEqual([409, 'STREAM_CLOSED']);
  });

  it('is told to upgrade where nothing else is wrong', async () => {
    expect(await ask('/new.txt?verb=append')).toEqual([426, 'UPGRADE_REQUIRED']);
    await append(`${server.url}/a.txt`, 'abc');
    expect(await ask('/a.txt?verb=append')).toEqual([426, 'UPGRADE_REQUIRED']);
    expect(await ask('/a.txt?live=ws&offset=-1')).toEqual([426, 'UPGRADE_REQUIRED']);
    const response = await fetch(`${server.url}/a.txt?live=ws`);
    expect(response.headers.get('upgrade')).toBe('websocket');
    // To a follower nothing is said of a body, and both learn where their upgrade may be.
    const { detail } = (await response.json()) as { detail: string };
    expect(detail).toMatch(/GET with \?live=raw\. .*a proxy/);
  });
});
