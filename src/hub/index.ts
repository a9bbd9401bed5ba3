export type {
  AnyChannels,
  ChannelName,
  HubEvent,
  HubGap,
  HubMessage,
  MessageOf,
  Pattern,
  Target,
} from './channels.js';
export { bytesCodec, type Codec, jsonCodec, textCodec } from './codec.js';
export type {
  ChannelNames,
  ChannelSink,
  Driver,
  DriverAbilities,
  DriverConnection,
  DriverContext,
  DriverStatus,
  DriverSubscription,
  Gap,
  Replayed,
} from './driver.js';
export { reconnectDelayMs } from './backoff.js';
export { createHub, type Hub, type HubOptions, type HubStatus, type SubscribeOptions } from './hub.js';
export { loadClient } from './load-client.js';
export { checkChannelName, DEFAULT_CHANNEL_BYTES_MAX, nameEscaper, plainNames } from './names.js';
export { hubSchemes } from './schemes.js';
export type { HubSubscription } from './subscription.js';
