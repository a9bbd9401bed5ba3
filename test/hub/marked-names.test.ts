import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { markedNames } from '../../src/hub/marked-names.js';

const names = markedNames({ holds: (name) => /^[A-Za-z0-9._-]{1,64}$/.test(name), lengthMax: 64 });

describe('names of brokers that hold letters, digits, ".", "_" and "-"', () => {
  it('are the channel itself wherever the broker holds it', () => {
    for (const name of ['chat', 'job-42', 'a.b_c', 'x'.repeat(64), '-', 'mr-', 'MR--x']) {
      expect(names.toBroker(name)).toBe(name);
      expect(names.fromBroker(name)).toBe(name);
    }
  });

  it('get a readable mark otherwise', () => {
    expect(names.toBroker('job/42')).toBe('mr--job-2F42');
    expect(names.toBroker('a b-c')).toBe('mr--a-20b-2Dc');
    expect(names.toBroker('ü')).toBe('mr---C3-BC');
  });

  it('get a dense mark where the readable one is too long, and are refused where that is too', () => {
    const dense = names.toBroker('频道'.repeat(7));
    expect(dense).toMatch(/^mr64-/);
    expect(dense.length).toBeLessThanOrEqual(64);
    expect(names.fromBroker(dense)).toBe('频道'.repeat(7));
    expect(() => names.toBroker('频道'.repeat(8))).toThrow(expect.objectContaining({ code: 'HUB_CHANNEL_INVALID' }));
    expect(() => names.toBroker('x'.repeat(65))).toThrow(expect.objectContaining({ code: 'HUB_CHANNEL_INVALID' }));
  });

  it('that look marked but were not made so are taken as they are, and never stand for two channels', () => {
    for (const foreign of [
      'mr--',
      'mr--a-2',
      'mr--a-zz',
      'mr--chat',
      'mr--a-2fb',
      'mr64-',
      'mr64-Y2hhdA',
      'mr--a-FF',
    ]) {
      expect(names.fromBroker(foreign)).toBe(foreign);
      expect(names.toBroker(foreign)).not.toBe(foreign);
    }
  });

  it('are reversible, whatever the channel', () => {
    const channel = fc.oneof(
      fc.string({ unit: 'binary', minLength: 1, maxLength: 40, size: 'max' }),
      fc.stringMatching(/^mr(--|64-)[A-Za-z0-9._-]{0,20}$/),
      fc.stringMatching(/^[A-Za-z0-9._/ -]{1,30}$/),
    );
    fc.assert(
      fc.property(channel, (name) => {
        let onBroker: string;
        try {
          onBroker = names.toBroker(name);
        } catch (error) {
          expect(error).toMatchObject({ code: 'HUB_CHANNEL_INVALID' });
          return;
        }
        expect(onBroker).toMatch(/^[A-Za-z0-9._-]{1,64}$/);
        expect(names.fromBroker(onBroker)).toBe(name);
      }),
    );
  });
});
