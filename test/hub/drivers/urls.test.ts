import { describe, expect, it } from 'vitest';
import { kafka, driverFromUrl as kafkaFromUrl } from '../../../src/hub/drivers/kafka.js';
import { nsq, driverFromUrl as nsqFromUrl } from '../../../src/hub/drivers/nsq.js';
import { zeromq, driverFromUrl as zeromqFromUrl } from '../../../src/hub/drivers/zeromq.js';

const invalid = expect.objectContaining({ code: 'INVALID_ARGUMENT' });

describe('URLs of hubs', () => {
  it.each([
    'nsq://localhost',
    'nsq://localhost:4150/',
    'nsq://one:4150,two:4151',
    'nsq://[::1]:4150',
    'NSQ://:open%20sesame@localhost:4150?tls=true&maxInFlight=10',
    'nsq+lookupd://localhost',
    'nsq+lookupd://one:4161,two:4161?lookupPollMs=1000&heartbeatMs=2000&maxMessageBytes=10',
  ])('for NSQ: %s', (url) => {
    expect(nsqFromUrl(url).name).toBe('nsq');
  });

  it.each([
    'kafka://localhost',
    'kafka://one:9092,two:9093',
    'kafka://user:pass%3Aword@localhost:9092?mechanism=SCRAM-SHA-512&tls=true',
    'kafka://localhost?createTopics=false&replicas=3&fetchWaitMs=100&requestTimeoutMs=1000',
  ])('for Kafka: %s', (url) => {
    expect(kafkaFromUrl(url).name).toBe('kafka');
  });

  it.each([
    'zeromq://localhost:5559',
    'zeromq://localhost:5559?subscribe=5560',
    'zeromq://localhost:5559?subscribe=other:5560&highWaterMark=10',
    'zeromq://0.0.0.0:5555?peers=',
    'zeromq://0.0.0.0:5555?peers=one:5555,two:5555&maxMessageBytes=100',
  ])('for ZeroMQ: %s', (url) => {
    expect(zeromqFromUrl(url).name).toBe('zeromq');
  });

  it.each([
    () => nsqFromUrl('nsq://'),
    () => nsqFromUrl('nsq://localhost:0'),
    () => nsqFromUrl('nsq://localhost:99999'),
    () => nsqFromUrl('nsq://localhost:4150?unknown=1'),
    () => nsqFromUrl('nsq://localhost:4150?maxInFlight=many'),
    () => nsqFromUrl('nsq://localhost:4150?heartbeatMs=10'),
    () => nsq({}),
    () => nsq({ nsqd: ['a:1'], lookupd: ['b:1'] }),
    () => nsq({ nsqd: ['nowhere'] }),
    () => kafkaFromUrl('kafka://'),
    () => kafkaFromUrl('kafka://localhost?mechanism=GUESS'),
    () => kafkaFromUrl('kafka://localhost?replicas=0'),
    () => kafka({ brokers: [] }),
    () => kafka({ brokers: ['http://localhost:9092'] }),
    () => zeromqFromUrl('zeromq://localhost'),
    () => zeromqFromUrl('zeromq://localhost:5559?what=1'),
    () => zeromqFromUrl('zeromq://localhost:5559?highWaterMark=-1'),
    () => zeromq({}),
    () =>
      zeromq({ mesh: { bind: 'tcp://*:1', peers: [] }, forwarder: { publish: 'tcp://a:1', subscribe: 'tcp://a:2' } }),
  ])('that cannot be right are refused: %s', (make) => {
    expect(make).toThrow(invalid);
  });
});
