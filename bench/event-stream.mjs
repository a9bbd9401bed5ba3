// Publish plus delivery to every subscriber, per event, beside the emitters that people use for it.
// Two loads: events one at a time (each delivered before the next is published), and in bursts of 100.
import { EventEmitter, on, setMaxListeners } from 'node:events';
import Emittery from 'emittery';
import { EventStream } from 'millrace/event-stream';
import mitt from 'mitt';
import { Subject } from 'rxjs';
import { figure, ratio, rounds, table } from './harness/measure.mjs';

const BURST = 100;
/** Deliveries per measurement; fewer for contenders that take long for each. */
const DELIVERIES = 1_000_000;
const SLOW_DELIVERIES = 100_000;

// Each contender sets up `subscribers` readers that call `deliver`, and answers how to publish and how to stop.
const contenders = {
  'EventStream consume': (subscribers, deliver) => {
    const stream = new EventStream();
    for (let count = 0; count < subscribers; count++) stream.subscribe().consume((value) => deliver(value));
    return { publish: (value) => stream.publish(value), stop: () => stream.close() };
  },
  'EventStream for await': (subscribers, deliver) => {
    const stream = new EventStream();
    const read = async (subscription) => {
      for await (const value of subscription) deliver(value);
    };
    for (let count = 0; count < subscribers; count++) read(stream.subscribe());
    return { publish: (value) => stream.publish(value), stop: () => stream.close(), slow: true };
  },
  'events.on': (subscribers, deliver) => {
    const emitter = new EventEmitter().setMaxListeners(0);
    const controller = new AbortController();
    setMaxListeners(0, controller.signal);
    const read = async () => {
      try {
        for await (const [value] of on(emitter, 'event', { signal: controller.signal })) deliver(value);
      } catch (error) {
        if (error.name !== 'AbortError') throw error;
      }
    };
    for (let count = 0; count < subscribers; count++) read();
    return { publish: (value) => emitter.emit('event', value), stop: () => controller.abort(), slow: true };
  },
  emittery: (subscribers, deliver) => {
    const emitter = new Emittery();
    for (let count = 0; count < subscribers; count++) emitter.on('event', (event) => deliver(event));
    return { publish: (value) => emitter.emit('event', value), stop: () => emitter.clearListeners(), slow: true };
  },
  'EventEmitter (sync)': (subscribers, deliver) => {
    const emitter = new EventEmitter().setMaxListeners(0);
    for (let count = 0; count < subscribers; count++) emitter.on('event', (value) => deliver(value));
    return { publish: (value) => emitter.emit('event', value), stop: () => emitter.removeAllListeners() };
  },
  'RxJS Subject (sync)': (subscribers, deliver) => {
    const subject = new Subject();
    for (let count = 0; count < subscribers; count++) subject.subscribe((value) => deliver(value));
    return { publish: (value) => subject.next(value), stop: () => subject.complete() };
  },
  'mitt (sync)': (subscribers, deliver) => {
    const emitter = mitt();
    for (let count = 0; count < subscribers; count++) emitter.on('event', (value) => deliver(value));
    return { publish: (value) => emitter.emit('event', value), stop: () => emitter.all.clear() };
  },
};

/** Nanoseconds per event, delivered to all. */
async function measure(contender, subscribers, burst) {
  let delivered = 0;
  const { publish, stop, slow } = contender(subscribers, () => {
    delivered++;
  });
  const turn = async (turns) => {
    for (let count = 0; count < turns; count++) {
      const target = delivered + burst * subscribers;
      for (let event = 0; event < burst; event++) publish(event);
      while (delivered < target) await undefined;
    }
  };
  const turns = Math.max(20, Math.floor((slow ? SLOW_DELIVERIES : DELIVERIES) / subscribers / burst));
  await turn(Math.ceil(turns / 5));
  const start = process.hrtime.bigint();
  await turn(turns);
  const nanoseconds = Number(process.hrtime.bigint() - start) / turns / burst;
  stop();
  await new Promise((resolve) => setImmediate(resolve));
  return nanoseconds;
}

const SUBSCRIBERS = [1, 10, 100, 1000];
for (const [title, burst] of [
  ['One event at a time', 1],
  [`Bursts of ${BURST} events`, BURST],
]) {
  const results = [];
  for (const subscribers of SUBSCRIBERS) {
    const runs = Object.entries(contenders).map(([name, each]) => [name, () => measure(each, subscribers, burst)]);
    results.push(await rounds(Object.fromEntries(runs)));
  }
  console.log(
    `${title}: nanoseconds per event for all subscribers, and how many times as long as EventStream consume\n`,
  );
  table([
    ['', ...SUBSCRIBERS.map((count) => (count === 1 ? '1 subscriber' : `${count}`))],
    ...Object.keys(contenders).map((name) => [
      name,
      ...results.map((result) => `${figure(result[name])} (${ratio(result[name] / result['EventStream consume'])})`),
    ]),
  ]);
  console.log();
}
