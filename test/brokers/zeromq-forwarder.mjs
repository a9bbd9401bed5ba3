// A ZeroMQ forwarder as a program: node zeromq-forwarder.mjs PUBLISH_PORT SUBSCRIBE_PORT
import { runForwarder } from 'millrace/hub/zeromq';

const [publish, subscribe] = process.argv.slice(2);
await runForwarder({ publish: `tcp://127.0.0.1:${publish}`, subscribe: `tcp://127.0.0.1:${subscribe}` });
