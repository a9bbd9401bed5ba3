import { expect } from 'vitest';

/** Matches the token of an offset, whatever stream it is of. */
export function token(offset: number): unknown {
  return expect.stringMatching(new RegExp(`^${String(offset).padStart(16, '0')}_[A-Za-z0-9_-]{8}$`));
}
