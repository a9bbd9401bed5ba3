import { driverFromUrl, kafka } from '../../src/hub/drivers/kafka.js';
import { driveBroker } from './drive.js';
import { startKafka } from './start-kafka.js';

await driveBroker(
  'the Kafka driver',
  () => startKafka(),
  (broker) => ({
    driver: () => driverFromUrl(broker.url),
    broker,
    foreign: broker,
    processModule: `
      import { driverFromUrl } from 'millrace/hub/kafka';
      const driver = () => driverFromUrl('${broker.url}');
    `,
    unreachable: () => kafka({ brokers: ['127.0.0.1:1'] }),
  }),
);
