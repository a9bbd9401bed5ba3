import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { clientAddress } from '../../src/http/client-address.js';
import { type Intake, IntakeBudget, type IntakeLimits, SMALL_BYTES } from '../../src/http/intake-budget.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const LIMITS: IntakeLimits = {
  intakeBytesMax: 64 * SMALL_BYTES,
  intakeBytesPerAddressMax: 24 * SMALL_BYTES,
  intakeWaitersMax: 3,
  intakeWaitMs: 10_000,
  intakeStallMs: 5_000,
};
const LARGE_MAX = 48 * SMALL_BYTES;

interface Client {
  readonly intake: Intake;
  full: boolean;
  code: string | undefined;
}

/** Somebody who gives up when told to. */
function client(budget: IntakeBudget, address?: string, refusable = true): Client {
  const made: { full: boolean; code: string | undefined } = { full: false, code: undefined };
  const intake = budget.open(
    {
      onFull(full) {
        made.full = full;
      },
      ...(refusable
        ? {
            onRefused(error) {
              made.code = error.code;
              intake.close();
            },
          }
        : {}),
    },
    address,
  );
  return Object.assign(made, { intake });
}

describe('a budget for what is on its way in', () => {
  it('lets large ones fill three quarters, and small ones go on', () => {
    const budget = new IntakeBudget(LIMITS);
    const [eldest, next, small] = [client(budget), client(budget), client(budget)];
    eldest.intake.take(2 * SMALL_BYTES);
    next.intake.take(LARGE_MAX);
    expect([eldest.full, next.full]).toEqual([false, true]);
    small.intake.take(SMALL_BYTES);
    expect(small.full).toBe(false);
    expect(budget.takeWhole(SMALL_BYTES)).toBe(true);
    small.intake.take(1);
    expect(small.full).toBe(true);
  });

  it('keeps room for small ones that are whole, however many do not come to their end', () => {
    const budget = new IntakeBudget({ ...LIMITS, intakeWaitersMax: 100 });
    const unfinished = Array.from({ length: 80 }, () => client(budget));
    for (const { intake } of unfinished) {
      if (!intake.isWaiting) intake.take(SMALL_BYTES);
    }
    const committing = client(budget, undefined, false);
    committing.intake.take(SMALL_BYTES);
    const late = client(budget);
    late.intake.take(1);
    expect([committing.full, late.full]).toEqual([false, true]);
    let whole = 0;
    while (budget.takeWhole(SMALL_BYTES)) whole++;
    expect(whole).toBeGreaterThan(0);
  });

  it('lets the eldest large one go on, whatever the others hold, and then the next', () => {
    const budget = new IntakeBudget(LIMITS);
    const clients = Array.from({ length: 3 }, () => client(budget));
    for (const { intake } of clients) intake.take(LARGE_MAX);
    expect(clients.map(({ full }) => full)).toEqual([false, true, true]);
    clients[0]?.intake.take(100 * SMALL_BYTES);
    expect(clients[0]?.full).toBe(false);
    clients[0]?.intake.close();
    expect(clients.map(({ full }) => full)).toEqual([false, false, true]);
  });

  it('keeps what one that was let go on may bring', () => {
    const budget = new IntakeBudget(LIMITS);
    const clients = Array.from({ length: 4 }, () => client(budget));
    clients[0]?.intake.take(2 * SMALL_BYTES);
    clients[1]?.intake.take(LARGE_MAX);
    for (const { intake } of clients.slice(2)) intake.take(2 * SMALL_BYTES);
    expect(clients.map(({ full }) => full)).toEqual([false, true, true, true]);
    clients[1]?.intake.give(SMALL_BYTES * 7.5);
    // Room for a read and a half: the second of them gets what is left of it, the third waits.
    expect(clients.map(({ full }) => full)).toEqual([false, false, false, true]);
    clients[2]?.intake.close();
    expect(clients.map(({ full }) => full)).toEqual([false, false, false, false]);
  });

  it('counts nothing any more when all is gone', () => {
    const budget = new IntakeBudget(LIMITS);
    const clients = Array.from({ length: 3 }, () => client(budget));
    for (const { intake } of clients) intake.take(LARGE_MAX);
    expect(budget.takeWhole(10)).toBe(true);
    budget.giveWhole(10);
    for (const { intake } of clients) intake.close();
    expect(budget.bytes).toBe(0);
  });

  it('refuses who waits too long, and who comes when too many wait', () => {
    const budget = new IntakeBudget(LIMITS);
    const clients = Array.from({ length: 5 }, () => client(budget));
    for (const { intake } of clients) intake.take(LARGE_MAX);
    expect(clients.map(({ code }) => code)).toEqual([undefined, undefined, undefined, undefined, 'INTAKE_BUSY']);
    for (let i = 0; i < 11; i++) {
      clients[0]?.intake.take(SMALL_BYTES);
      vi.advanceTimersByTime(1_000);
    }
    expect(clients.map(({ code }) => code)).toEqual([
      undefined,
      'INTAKE_BUSY',
      'INTAKE_BUSY',
      'INTAKE_BUSY',
      'INTAKE_BUSY',
    ]);
    clients[0]?.intake.close();
    expect(budget.bytes).toBe(0);
  });

  it('refuses who does not go on, but only while others wait', () => {
    const budget = new IntakeBudget(LIMITS);
    const idle = client(budget);
    idle.intake.take(LARGE_MAX);
    vi.advanceTimersByTime(60_000);
    expect(idle.code).toBe(undefined);
    const waiting = client(budget);
    waiting.intake.take(2 * SMALL_BYTES);
    vi.advanceTimersByTime(4_000);
    expect([idle.code, waiting.full]).toEqual([undefined, true]);
    vi.advanceTimersByTime(3_000);
    expect([idle.code, waiting.full]).toEqual(['REQUEST_TIMEOUT', false]);
  });

  it('does not refuse those whose bytes go away by themselves', () => {
    const budget = new IntakeBudget(LIMITS);
    const [appender, other] = [client(budget, undefined, false), client(budget, undefined, false)];
    appender.intake.take(LARGE_MAX);
    other.intake.take(LARGE_MAX);
    vi.advanceTimersByTime(60_000);
    expect([appender.code, other.code]).toEqual([undefined, undefined]);
    // There will be room without either of them.
    expect([appender.full, other.full]).toEqual([true, true]);
    appender.intake.give(LARGE_MAX);
    expect([appender.full, other.full]).toEqual([false, true]);
    other.intake.give(LARGE_MAX);
    expect([appender.full, other.full]).toEqual([false, false]);
  });

  it('lets the eldest that is not whole wait for those whose bytes go away by themselves', () => {
    const budget = new IntakeBudget(LIMITS);
    const clients = Array.from({ length: 3 }, () => client(budget));
    for (const { intake } of clients) intake.take(LARGE_MAX);
    expect(clients.map(({ full }) => full)).toEqual([false, true, true]);
    // The first one is whole: its bytes are another's until they are committed.
    const appender = client(budget, undefined, false);
    appender.intake.take(LARGE_MAX);
    clients[0]?.intake.close();
    expect(clients.map(({ full }) => full)).toEqual([false, true, true]);
    clients[1]?.intake.take(1);
    expect(clients.map(({ full }) => full)).toEqual([false, true, true]);
    appender.intake.give(LARGE_MAX);
    expect(clients.map(({ full }) => full)).toEqual([false, false, true]);
  });

  it('gives an address its share', () => {
    const budget = new IntakeBudget(LIMITS);
    const [eldest, more, other] = [client(budget, 'a'), client(budget, 'a'), client(budget, 'b')];
    eldest.intake.take(23 * SMALL_BYTES);
    more.intake.take(2 * SMALL_BYTES);
    other.intake.take(2 * SMALL_BYTES);
    expect([eldest.full, more.full, other.full]).toEqual([false, true, false]);
    eldest.intake.give(4 * SMALL_BYTES);
    expect(more.full).toBe(false);
  });
});

describe('the address that a client counts for', () => {
  it.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8::9', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['127.0.0.1', undefined],
    ['::ffff:127.1.2.3', undefined],
    ['::1', undefined],
    [undefined, undefined],
  ])('%s: %s', (remoteAddress, address) => {
    expect(clientAddress({ remoteAddress })).toBe(address);
  });
});
