import type { Gap } from './driver.js';

/**
 * The channels of an untyped hub. A typed one names its own: `createHub<{ chat: Message; 'job/*': Progress }>()`,
 * where `*` in a key stands for any run of characters.
 */
export type AnyChannels = Record<string, unknown>;

/** The names that a key of the channel map stands for. */
type NamesOf<Key extends string> = Key extends `${infer Before}*${infer After}`
  ? `${Before}${string}${NamesOf<After>}`
  : Key;

/** The names that may be published to and subscribed in a hub of channels `C`. */
export type ChannelName<C> = NamesOf<keyof C & string>;

/** The type of the messages on channel `Name`: that of the key itself, else of the keys with `*` that match. */
export type MessageOf<C, Name extends string> = Name extends keyof C
  ? C[Name]
  : { [Key in keyof C & string]: Name extends NamesOf<Key> ? C[Key] : never }[keyof C & string];

/** What may be sent to all of the channels `Name` at once: it has to be a message of each. */
export type MessageOfAll<C, Name extends string> = (
  Name extends string
    ? (message: MessageOf<C, Name>) => void
    : never
) extends (message: infer Message) => void
  ? Message
  : never;

/** A pattern to subscribe to: `*` stands for any run of characters, also an empty one; all else for itself. */
export interface Pattern {
  readonly pattern: string;
}

/** What can be subscribed to: a channel by its name, or all channels that match a pattern. */
export type Target<C> = ChannelName<C> | Pattern;

/** A message that arrived. */
export interface HubMessage<Name extends string = string, Message = unknown> {
  readonly channel: Name;
  readonly message: Message;
  /** Where the driver can replay: give it as `after` to a later `subscribe` of the same targets to go on from here. */
  readonly id?: string;
  /** The pattern that matched, when the message came by one. */
  readonly pattern?: string;
  readonly gap?: undefined;
}

/** Messages may be missing at this point. For a subscription by pattern `channel` is the pattern. */
export interface HubGap<Name extends string = string> {
  readonly channel: Name;
  readonly gap: Gap;
  readonly pattern?: string;
  readonly message?: undefined;
  readonly id?: undefined;
}

/** What a subscription yields: test `event.gap` first, then `event.message` has its type. */
export type HubEvent<Name extends string = string, Message = unknown> = HubMessage<Name, Message> | HubGap<Name>;

/** The messages that a subscription to `T` yields. */
export type MessagesOf<C, T> = T extends string
  ? HubMessage<T, MessageOf<C, T>>
  : T extends { readonly pattern: infer P extends string }
    ? HubMessage<NamesOf<P>, P extends keyof C ? C[P] : C[keyof C]>
    : never;

/** The gaps that a subscription to `T` yields. */
export type GapsOf<T> = T extends string ? HubGap<T> : HubGap;
