import { describe, expect, it } from 'vitest';
import { DEFAULT_HTTP_LIMITS, type HttpLimits } from '../../src/http/index.js';
import { checkConfig, type ServerConfig } from '../../src/server/config.js';

describe('checkConfig', () => {
  it('needs nothing: everything has a default, and nobody else gets in', () => {
    expect(checkConfig({})).toMatchObject({
      root: './data',
      host: '127.0.0.1',
      port: 4437,
      limits: DEFAULT_HTTP_LIMITS,
      connectionsMax: 100_000,
      connectionsPerAddressMax: 4_096,
    });
  });

  it('takes what is given, and leaves the other limits as they are', () => {
    const config = checkConfig({
      memory: true,
      host: '::',
      port: 0,
      limits: { drainMs: 0, resumeGraceMs: 0 },
      connectionsMax: 5,
      connectionsPerAddressMax: 3,
    });
    expect(config).toMatchObject({
      root: undefined,
      host: '::',
      port: 0,
      limits: { ...DEFAULT_HTTP_LIMITS, drainMs: 0, resumeGraceMs: 0 },
      connectionsMax: 5,
      connectionsPerAddressMax: 3,
    });
  });

  it.each<[name: string, config: ServerConfig]>([
    ['memory', { memory: true, root: 'x' }],
    ['root', { root: '' }],
    ['host', { host: '' }],
    ['port', { port: 65_536 }],
    ['port', { port: -1 }],
    ['port', { port: 1.5 }],
    ['publicUrl', { publicUrl: 'streams.example' }],
    ['publicUrl', { publicUrl: 'https://streams.example/path' }],
    ['origins', { origins: ['app.example'] }],
    ['origins', { origins: ['https://app.example', 'null'] }],
    ['hostNames', { hostNames: ['streams.example:80'] }],
    ['connectionsMax', { connectionsMax: 0 }],
    ['connectionsPerAddressMax', { connectionsPerAddressMax: 0 }],
    ['drainMs', { limits: { drainMs: -1 } }],
    ['drainMs', { limits: { drainMs: 2 ** 31 } }],
    ['heartbeatIntervalMs', { limits: { heartbeatIntervalMs: 9_999_999_999 } }],
    ['longPollTimeoutMs', { limits: { longPollTimeoutMs: 0 } }],
    ['followersMax', { limits: { followersMax: 0 } }],
    ['bodyBytesMax', { limits: { bodyBytesMax: Number.NaN } }],
    ['noSuchLimit', { limits: { noSuchLimit: 1 } as Partial<HttpLimits> }],
  ])('refuses a wrong %s by its name', (name, config) => {
    expect(() => checkConfig(config)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(name) as string }),
    );
  });
});
