/** Where a follower stands once it has what is being encoded. */
export interface After {
  /** `StreamInfo.id` of the stream. */
  readonly streamId: string;
  /** The offset after the data: what a client gives back to go on from here. */
  readonly offset: number;
  /** Nothing more was committed at the time. */
  readonly upToDate: boolean;
  /** The stream is closed and this is its end. */
  readonly closed: boolean;
  /** The stream has no appender, and the last one was lost: it may be unfinished. Only at the tail of an open stream. */
  readonly appenderLost?: boolean;
}

/**
 * How followers of one kind see a stream. Encodings are cached by the identity of the format object, once per chunk:
 * use one shared object per kind, and a new one only for what is true of a single follower.
 */
export interface Format {
  /** For logs and error messages. */
  readonly name: string;
  /**
   * How many bytes at the end of the data are the beginning of something that must stay in one piece, at most three. They
   * wait for the next piece, and `After.offset` stands before them. See {@link unfinishedCharacter}.
   */
  readonly unfinished?: (data: Uint8Array) => number;
  /**
   * The bytes to send. Must depend on nothing but its arguments; the answer is shared by all followers and must never
   * be changed. `data` is empty when only the state is news (`closed`, `appenderLost`, or the first `upToDate`): an empty answer then
   * sends nothing. In a JSON stream `data` is whole lines.
   */
  encode(data: Uint8Array, after: After): Uint8Array;
}
