// The memory hub beside a bare EventStream that carries the same events: publish plus delivery to every subscriber.
import { EventStream } from 'millrace/event-stream';
import { createHub } from 'millrace/hub';
import { figure, ratio, rounds, table } from './harness/measure.mjs';

const BURST = 100;
const DELIVERIES = 1_000_000;

const contenders = {
  'bare EventStream': async (subscribers, deliver) => {
    const stream = new EventStream();
    for (let count = 0; count < subscribers; count++) stream.subscribe().consume((event) => deliver(event.message));
    return { publish: (message) => stream.publish({ channel: 'chat', message }), stop: () => stream.close() };
  },
  'memory hub': async (subscribers, deliver) => {
    const hub = createHub();
    const followers = Array.from({ length: subscribers }, () => hub.subscribe('chat'));
    for (const follower of followers) follower.consume((event) => deliver(event.message));
    await Promise.all(followers.map((follower) => follower.ready));
    await undefined;
    return { publish: (message) => hub.publish('chat', message), stop: () => hub.close() };
  },
};

/** Nanoseconds per event, delivered to all. */
async function measure(contender, subscribers, burst) {
  let delivered = 0;
  const { publish, stop } = await contender(subscribers, () => {
    delivered++;
  });
  const turn = async (turns) => {
    for (let count = 0; count < turns; count++) {
      const target = delivered + burst * subscribers;
      for (let event = 0; event < burst; event++) publish(event);
      while (delivered < target) await undefined;
    }
  };
  const turns = Math.max(20, Math.floor(DELIVERIES / subscribers / burst));
  await turn(Math.ceil(turns / 5));
  // Processor time: all of it is one process that never waits, and the clock would measure what else the machine does.
  const before = process.cpuUsage();
  await turn(turns);
  const { user, system } = process.cpuUsage(before);
  await stop();
  return ((user + system) * 1000) / (turns * burst);
}

const rows = [['CPU ns per event, delivered to all', ...Object.keys(contenders), 'hub / bare']];
for (const burst of [1, BURST]) {
  for (const subscribers of [1, 100, 1000]) {
    const figures = await rounds(
      Object.fromEntries(
        Object.entries(contenders).map(([name, contender]) => [name, () => measure(contender, subscribers, burst)]),
      ),
    );
    const [bare, hub] = Object.values(figures);
    rows.push([
      `${subscribers} subscribers, ${burst === 1 ? 'one at a time' : `bursts of ${burst}`}`,
      figure(bare),
      figure(hub),
      ratio(hub / bare),
    ]);
  }
}
table(rows);
