import { once } from 'node:events';
import grpc from '@grpc/grpc-js';
import { isMillraceError } from 'millrace/errors';
import { Room } from './room.mjs';
import { ChatterBox, channelOptions } from './service.mjs';

/** How long the server waits for its members to take their last events before it cuts them off. */
const SHUTDOWN_MS = 2_000;

/**
 * Starts a chat server.
 * @param {{ address: string, maxLag?: number, log?: (line: string) => void }} options
 * @returns {Promise<{ address: string, close(): Promise<void> }>} the address with the port that it got
 */
export async function startServer({ address, maxLag, log = () => {} }) {
  const room = new Room({ maxLag });
  const server = new grpc.Server(channelOptions);
  server.addService(ChatterBox.service, {
    chat(call) {
      const who = room.join();
      log(`${who}: joined`);
      const leave = () => room.leave(who);
      call.on('data', ({ text }) => room.say(who, text));
      // Whoever says that it has nothing more to say leaves, and gets its stream up to its own leaving.
      call.on('end', leave);
      call.on('error', leave);
      sendEvents(room, call, who)
        .catch((error) => log(`${who}: ${error.message}`))
        .finally(() => {
          leave();
          log(`${who}: left`);
        });
    },
    monitor(call) {
      sendEvents(room, call).catch((error) => log(`monitor: ${error.message}`));
    },
  });
  const port = await new Promise((resolve, reject) => {
    server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return {
    address: address.replace(/:\d+$/, `:${port}`),
    async close() {
      room.close();
      const cut = setTimeout(() => server.forceShutdown(), SHUTDOWN_MS);
      await new Promise((resolve) => server.tryShutdown(resolve));
      clearTimeout(cut);
    },
  };
}

/**
 * Tells one member, or a monitor, who is here and then everything that happens.
 *
 * The stream of events is read only as fast as the member takes it: when gRPC's window is full, `write` says so and
 * this loop waits. Meanwhile the member holds nothing but its place in the EventStream, and past `maxLag` not even that.
 */
async function sendEvents(room, call, who) {
  const gone = new AbortController();
  call.on('cancelled', () => gone.abort());
  const { members, events } = room.enter({ signal: gone.signal });
  const write = async (event) => {
    if (!call.write(event)) await once(call, 'drain', { signal: gone.signal });
  };
  try {
    for (const member of members) await write({ who: member, what: 'JOIN' });
    await write({ what: 'INITIALIZED' });
    for await (const event of events) {
      await write(event);
      if (event.what === 'LEAVE' && event.who === who) break;
    }
    call.end();
  } catch (error) {
    if (gone.signal.aborted) return;
    const lagged = isMillraceError(error, 'EVENT_STREAM_LAGGED');
    call.emit('error', {
      code: lagged ? grpc.status.RESOURCE_EXHAUSTED : grpc.status.INTERNAL,
      details: lagged ? `${error.details.missed} events were missed: read faster, and join again.` : 'The chat failed.',
    });
    throw error;
  } finally {
    await events.return();
  }
}
