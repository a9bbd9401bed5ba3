import type { Store } from '../log/index.js';
import { appendCases } from './store-append-cases.js';
import { forkCases } from './store-fork-cases.js';
import { identityCases } from './store-identity-cases.js';
import { lifetimeCases } from './store-lifetime-cases.js';
import { readCases } from './store-read-cases.js';
import { sessionCases } from './store-session-cases.js';

/** What the suite needs to know of the store under test. */
export interface StoreSuiteOptions {
  /** A new, empty store. The suite closes it. */
  readonly open: () => Promise<Store>;
  /**
   * Opens what a closed store has left. Without it the store forgets everything at its end, and is not asked for what
   * must outlive it.
   */
  readonly reopen?: (closed: Store) => Promise<Store>;
  /** Time as the store sees it. Without it that of the machine, and the cases of lifetimes wait. */
  readonly time?: SuiteTime;
}

/** A store's time. */
export interface SuiteTime {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Lets so much time pass; after that the store may have done what it does in the background. */
  pass(ms: number): Promise<void> | void;
}

/** One case: give it to your test framework. */
export interface StoreCase {
  readonly name: string;
  /** Why this store cannot be asked for this. */
  readonly skip: string | undefined;
  readonly timeoutMs: number;
  run(): Promise<void>;
}

/** A case as the files of the suite write it. */
export interface CaseOfStore {
  readonly name: string;
  /** It closes the store and looks at what is left. */
  readonly reopens?: boolean;
  run(store: Store, reopen: (closed: Store) => Promise<Store>, time: SuiteTime): Promise<void>;
}

const CASE_TIMEOUT_MS = 30_000;

const machineTime: SuiteTime = {
  now: () => Date.now(),
  pass: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
};

/**
 * The cases that every store must pass. Any framework runs them:
 *
 *     for (const { name, skip, timeoutMs, run } of storeSuite({ open: () => createMyStore() })) {
 *       it(skip ? `${name} (not asked: ${skip})` : name, { skip: skip !== undefined, timeout: timeoutMs }, run);
 *     }
 */
export function storeSuite(options: StoreSuiteOptions): StoreCase[] {
  const { open, reopen, time = machineTime } = options;
  const cases = [...appendCases, ...readCases, ...sessionCases, ...forkCases, ...identityCases, ...lifetimeCases];
  return cases.map(({ name, reopens = false, run }) => ({
    name,
    skip: reopens && reopen === undefined ? 'the store keeps nothing beyond its end' : undefined,
    timeoutMs: CASE_TIMEOUT_MS,
    async run() {
      const opened = [await open()];
      try {
        const openAgain = async (closed: Store) => {
          if (reopen === undefined) throw new Error('This store cannot be opened again.');
          const again = await reopen(closed);
          opened.push(again);
          return again;
        };
        await run(opened[0] as Store, openAgain, time);
      } finally {
        // Closing twice is allowed, and a case that failed may have left its store open.
        for (const store of opened) await store.close();
      }
    },
  }));
}
