/**
 * Where a reader of a topic stands, as an id: the offset of the next message in each partition, after a mark of the topic
 * (so that an id of a topic which was deleted and made anew is known as such). Later ids of one reader sort later.
 */
export interface TopicPosition {
  readonly mark: string;
  readonly offsets: readonly bigint[];
}

const OFFSET_DIGITS = 16;

/** The mark of a topic, from Kafka's id of it. */
export function topicMark(topicId: string): string {
  return topicId.replaceAll('-', '').slice(0, 8);
}

export function formatOffset(offset: bigint): string {
  return String(offset).padStart(OFFSET_DIGITS, '0');
}

export function formatPosition({ mark, offsets }: TopicPosition): string {
  return `${mark}.${offsets.map(formatOffset).join('.')}`;
}

/** The position in an id, or undefined where it is none. */
export function parsePosition(id: string): TopicPosition | undefined {
  if (!/^[0-9a-f]{8}(?:\.\d{16})+$/.test(id)) return undefined;
  const [mark = '', ...offsets] = id.split('.');
  return { mark, offsets: offsets.map(BigInt) };
}
