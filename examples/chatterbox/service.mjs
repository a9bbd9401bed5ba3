import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

/**
 * What is told to the room, as gRPC hands it over.
 * @typedef {object} RoomEvent
 * @property {string} who
 * @property {'INITIALIZED' | 'CHAT' | 'JOIN' | 'LEAVE'} what
 * @property {string} text
 */

/** The longest message that is sent or taken, in bytes: with the room's `maxLag`, what a slow member can cost. */
export const MESSAGE_BYTES_MAX = 4 * 1024;

/** Where the server listens, and clients connect, unless told otherwise. */
export const DEFAULT_ADDRESS = '127.0.0.1:9000';

/** A peer that vanished without a word is noticed after at most the two together. */
const KEEPALIVE = { 'grpc.keepalive_time_ms': 10_000, 'grpc.keepalive_timeout_ms': 5_000 };

const definition = loadSync(fileURLToPath(new URL('chatterbox.proto', import.meta.url)), {
  enums: String,
  defaults: true,
});

/** The client class, and its `service` for the server. */
export const ChatterBox = grpc.loadPackageDefinition(definition).chatterbox.ChatterBox;

/** Options of both ends of a connection. */
export const channelOptions = { ...KEEPALIVE, 'grpc.max_receive_message_length': MESSAGE_BYTES_MAX };

/** A connection to a server. It is made when used, and made again when lost. */
export function connect(address) {
  return new ChatterBox(address, grpc.credentials.createInsecure(), {
    ...channelOptions,
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.max_reconnect_backoff_ms': 2_000,
  });
}
