import { MemoryBroker, memory } from '../../src/hub/drivers/memory.js';
import { driveBroker } from './drive.js';

const start = async () => ({ broker: new MemoryBroker({ historyMax: 100 }), stop: async () => {} });

await driveBroker('the memory driver', start, ({ broker }) => ({ driver: () => memory({ broker }) }));
