import { MillraceError } from '../errors.js';
import type { SubscribeOptions } from './hub.js';

/** A limit as it was given, or by default. Throws `INVALID_ARGUMENT` for what cannot be one. */
export function limit(name: string, value: number | undefined, byDefault: number): number {
  if (value === undefined) return byDefault;
  if (!Number.isSafeInteger(value) || value < 1 || (name.endsWith('Ms') && value > 0x7fffffff)) {
    throw new MillraceError('INVALID_ARGUMENT', `${name} must be a whole number of at least 1, not ${value}.`);
  }
  return value;
}

/** Throws `INVALID_ARGUMENT` for options that cannot be: those of a program without types may be anything. */
export function checkSubscribeOptions(options: SubscribeOptions & { readonly onGap?: unknown }): void {
  const { after, whenLagging, onGap, signal } = options;
  if (after !== undefined && typeof after !== 'string') throw wrong('after must be the id of an event, a string.');
  if (whenLagging !== undefined && whenLagging !== 'gap' && whenLagging !== 'disconnect') {
    throw wrong('whenLagging must be gap or disconnect.');
  }
  if (onGap !== undefined && typeof onGap !== 'function') throw wrong('onGap must be a function.');
  if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
    throw wrong('signal must be an AbortSignal.');
  }
}

function wrong(detail: string): MillraceError {
  return new MillraceError('INVALID_ARGUMENT', detail);
}
