import { isMillraceError, MillraceError } from '../../errors.js';

/** What errors of the package `@platformatic/kafka` have: one may hold others. */
interface KafkaErrorLike {
  readonly code?: unknown;
  /** Kafka's own name of an error: `MESSAGE_TOO_LARGE`. */
  readonly apiId?: unknown;
  readonly cause?: unknown;
  readonly errors?: unknown;
}

/** Kafka's names of all errors in this one. */
export function kafkaErrorIds(error: unknown): Set<string> {
  const ids = new Set<string>();
  const visit = (each: unknown, depth: number): void => {
    if (typeof each !== 'object' || each === null || depth > 8) return;
    const { code, apiId, cause, errors } = each as KafkaErrorLike;
    if (typeof code === 'string') ids.add(code);
    if (typeof apiId === 'string') ids.add(apiId);
    visit(cause, depth + 1);
    if (Array.isArray(errors)) for (const inner of errors) visit(inner, depth + 1);
  };
  visit(error, 0);
  return ids;
}

/** Errors by which a broker says that it did not take a message and that it may be tried again in a moment. */
const NOT_TAKEN_YET = [
  'UNKNOWN_TOPIC_OR_PARTITION',
  'UNKNOWN_TOPIC_ID',
  'LEADER_NOT_AVAILABLE',
  'NOT_LEADER_OR_FOLLOWER',
  // A topic was just made, or its leader changed: metadata is ahead of the broker, or behind it.
  'UNKNOWN_LEADER_EPOCH',
  'FENCED_LEADER_EPOCH',
  'NOT_ENOUGH_REPLICAS',
];

/** Whether Kafka has refused a message for a reason that passes. */
export function isNotTakenYet(error: unknown): boolean {
  const ids = kafkaErrorIds(error);
  return NOT_TAKEN_YET.some((id) => ids.has(id));
}

/** Whether the connection is at fault, rather than what was asked. */
export function isConnectionError(error: unknown): boolean {
  const ids = kafkaErrorIds(error);
  return ids.has('PLT_KFK_NETWORK') || ids.has('PLT_KFK_TIMEOUT') || ids.has('KAFKA_TIMEOUT');
}

/** What Kafka or the connection to it said, in the hub's terms. */
export function kafkaError(error: unknown): MillraceError {
  if (isMillraceError(error)) return error;
  const ids = kafkaErrorIds(error);
  const text = describeKafkaError(error);
  const fail = (code: MillraceError['code'], sentence: string) =>
    new MillraceError(code, sentence, {}, { cause: error });
  if (ids.has('PLT_KFK_AUTHENTICATION') || ids.has('SASL_AUTHENTICATION_FAILED')) {
    return fail('HUB_UNAUTHORIZED', `Kafka refused the credentials (${text}): check user, password and mechanism.`);
  }
  for (const id of ids) {
    if (id.endsWith('_AUTHORIZATION_FAILED')) {
      return fail('HUB_UNAUTHORIZED', `Kafka does not allow this (${id}): ask for an ACL that does.`);
    }
  }
  if (ids.has('MESSAGE_TOO_LARGE') || ids.has('RECORD_LIST_TOO_LARGE')) {
    return fail('HUB_MESSAGE_TOO_LARGE', 'The message is larger than the topic allows: raise its max.message.bytes.');
  }
  if (ids.has('INVALID_TOPIC_EXCEPTION')) {
    return fail(
      'HUB_CHANNEL_INVALID',
      'Kafka does not make this topic. Names that differ only in "." and "_" exclude each other: choose another name.',
    );
  }
  return fail('HUB_UNAVAILABLE', `Kafka is not available: ${text}.`);
}

/** What an error says: the innermost message tells most. */
export function describeKafkaError(error: unknown): string {
  let inner = error as KafkaErrorLike & { readonly message?: unknown };
  for (let depth = 0; depth < 8; depth++) {
    const next = Array.isArray(inner?.errors) && inner.errors.length > 0 ? inner.errors[0] : inner?.cause;
    if (typeof next !== 'object' || next === null) break;
    inner = next as typeof inner;
  }
  return String(inner?.message ?? error).replace(/\.$/, '');
}
