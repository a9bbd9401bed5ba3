export { reconnectDelayMs } from './backoff.js';
export type {
  AnyChannels,
  ChannelName,
  HubEvent,
  HubGap,
  HubMessage,
  MessageOf,
  MessageOfAll,
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
export { EncodedMessage, encodedMessageOf, type MessageForm } from './encoded-message.js';
export {
  type AnyHub,
  createHub,
  DEFAULT_CHANNELS_MAX,
  DEFAULT_CONNECT_TIMEOUT_MS,
  DEFAULT_MAX_LAG,
  DEFAULT_MAX_LAG_BYTES,
  DEFAULT_MESSAGE_BYTES_MAX,
  DEFAULT_PUBLISH_BYTES_MAX,
  DEFAULT_PUBLISH_TIMEOUT_MS,
  DEFAULT_PUBLISHES_MAX,
  DEFAULT_TOTAL_LAG_BYTES_MAX,
  type Hub,
  type HubOptions,
  type HubStatus,
  type SubscribeOptions,
  type SubscribeWithGapsOptions,
} from './hub.js';
export { loadClient } from './load-client.js';
export {
  checkChannelName,
  DEFAULT_CHANNEL_BYTES_MAX,
  type NameEscaperOptions,
  nameEscaper,
  plainNames,
} from './names.js';
export { hubSchemes } from './schemes.js';
export type { HubSubscription, LagPolicy } from './subscription.js';
