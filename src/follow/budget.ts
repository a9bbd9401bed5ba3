import type { FollowEngineLimits } from './limits.js';

/**
 * What followers that catch up may hold in memory together. Nobody waits for it: the fuller it is the smaller the
 * grants, down to `readBytesMin`, so a crowd of stuck followers slows catching up but never stops it.
 */
export class ReadBudget {
  readonly #limits: FollowEngineLimits;
  #used = 0;

  constructor(limits: FollowEngineLimits) {
    this.#limits = limits;
  }

  get used(): number {
    return this.#used;
  }

  /** How much may be read now. Give it back with {@link release}. */
  grant(wanted: number): number {
    const { catchUpBytesMax, readBytesMin, readBytesMax } = this.#limits;
    // An eighth of what is left: the first few cannot take all of it.
    const share = Math.floor((catchUpBytesMax - this.#used) / 8);
    const granted = Math.max(readBytesMin, Math.min(wanted, readBytesMax, share));
    this.#used += granted;
    return granted;
  }

  release(granted: number): void {
    this.#used -= granted;
  }
}
