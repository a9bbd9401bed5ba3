import { afterAll, describe, it } from 'vitest';
import { type HubDriverSuiteOptions, hubDriverSuite } from '../../src/testing/index.js';
import { BrokerMissing } from './broker-process.js';

/** A broker that a test has started. */
export interface StartedBroker {
  stop(): Promise<void>;
}

/**
 * Starts a broker and runs the published suite against it. Where the broker is not on the machine the file is skipped,
 * with the command that gets it; with MILLRACE_REQUIRE_BROKERS=1, as in CI, it fails.
 */
export async function driveBroker<B extends StartedBroker>(
  name: string,
  start: () => Promise<B>,
  suite: (broker: B) => HubDriverSuiteOptions,
  more?: (broker: B) => void,
): Promise<void> {
  let broker: B;
  try {
    broker = await start();
  } catch (error) {
    if (!(error instanceof BrokerMissing) || process.env.MILLRACE_REQUIRE_BROKERS === '1') throw error;
    // Reporters that only count do not show names.
    console.warn(`Skipping the tests of ${name}. ${error.message}`);
    it(`${name} (skipped: ${error.message})`, { skip: true }, () => {});
    return;
  }
  describe(name, () => {
    afterAll(() => broker.stop());
    for (const { name, skip, timeoutMs, run } of hubDriverSuite(suite(broker))) {
      it(
        skip === undefined ? name : `${name} (not asked: ${skip})`,
        { skip: skip !== undefined, timeout: timeoutMs },
        run,
      );
    }
    more?.(broker);
  });
}
