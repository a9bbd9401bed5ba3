import { afterEach, describe, expect, it } from 'vitest';
import { cleanup, init, publish, subscribe } from '../../src/hub/default.js';
import { FakeDriver } from './fake-driver.js';

afterEach(cleanup);

describe('the hub of the process', () => {
  it('is not there before init and after cleanup', async () => {
    await expect(publish('a', 1)).rejects.toMatchObject({ code: 'HUB_CLOSED' });
    expect(() => subscribe('a')).toThrow(expect.objectContaining({ code: 'HUB_CLOSED' }));
    await init();
    await publish('a', 1);
    await cleanup();
    await cleanup();
    await expect(publish('a', 1)).rejects.toMatchObject({ code: 'HUB_CLOSED' });
  });

  it('publishes and subscribes', async () => {
    await Promise.all([init('memory:'), init()]);
    const subscription = subscribe('a');
    await publish('a', 'hello');
    expect((await subscription.next()).value).toEqual({ channel: 'a', message: 'hello' });
  });

  it('tries again while the broker comes up', async () => {
    const driver = new FakeDriver();
    driver.onConnect = async () => {
      if (driver.connects < 3) throw new Error('not yet');
    };
    await init({ driver, retryDelayMs: 5 });
    expect(driver.connects).toBe(3);
    await publish('a', 1);
  });

  it('gives up when the time is over, and may be called again', async () => {
    const driver = new FakeDriver();
    driver.onConnect = async () => {
      throw new Error('never');
    };
    await expect(init({ driver, retryDelayMs: 5, initTimeoutMs: 20 })).rejects.toMatchObject({
      code: 'HUB_UNAVAILABLE',
    });
    await init();
    await publish('a', 1);
  });

  it('gives up by its signal', async () => {
    const driver = new FakeDriver();
    driver.onConnect = async () => {
      throw new Error('never');
    };
    const reason = new Error('enough');
    await expect(init({ driver, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const waiting = init({ driver, retryDelayMs: 60_000, initTimeoutMs: 120_000, signal: controller.signal });
    setTimeout(() => controller.abort(reason), 10);
    await expect(waiting).rejects.toBe(reason);
  });

  it('gives up at once by its signal, and when the time is over, also in the middle of a try', async () => {
    const driver = new FakeDriver();
    driver.onConnect = () => new Promise(() => {});
    const controller = new AbortController();
    const reason = new Error('enough');
    const waiting = init({ driver, signal: controller.signal });
    setTimeout(() => controller.abort(reason), 10);
    await expect(waiting).rejects.toBe(reason);
    await expect(init({ driver, initTimeoutMs: 20 })).rejects.toMatchObject({ code: 'HUB_UNAVAILABLE' });
    await init();
  });
});
