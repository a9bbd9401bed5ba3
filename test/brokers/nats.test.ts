import { nats } from '../../src/hub/drivers/nats.js';
import { driveBroker } from './drive.js';
import { bareNats, startNats } from './start-nats.js';

await driveBroker(
  'the nats driver',
  () => startNats(),
  (broker) => ({
    driver: () => nats({ url: broker.url }),
    broker,
    foreign: bareNats(broker.url),
    processModule: `
    import { nats } from 'millrace/hub/nats';
    const driver = () => nats({ url: '${broker.url}' });
  `,
    unreachable: () => nats({ url: 'nats://127.0.0.1:1' }),
  }),
);
