import { redis } from '../../src/hub/drivers/redis.js';
import { driveBroker } from './drive.js';
import { redisCli, startRedis } from './start-redis.js';

await driveBroker(
  'the redis driver',
  () => startRedis(),
  (broker) => ({
    driver: () => redis({ url: broker.url }),
    broker,
    foreign: redisCli(broker.cli, broker.port),
    processModule: `
    import { redis } from 'millrace/hub/redis';
    const driver = () => redis({ url: '${broker.url}' });
  `,
    unreachable: () => redis({ url: 'redis://127.0.0.1:1' }),
  }),
);
