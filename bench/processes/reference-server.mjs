// The reference implementation of Durable Streams on its file store.
import { DurableStreamTestServer } from '@durable-streams/server';
import { options } from './options.mjs';
import './usage.mjs';

const server = new DurableStreamTestServer({ port: 0, dataDir: options.root });
const url = await server.start();
process.send({ port: Number(new URL(url).port) });
