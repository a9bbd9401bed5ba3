/** Options of a socket of the package `zeromq`: keys of CURVE, a user of PLAIN, keep-alive… */
export type SocketSettings = Readonly<Record<string, string | number | boolean | null>>;

/** Where a forwarder is. */
export interface ForwarderEndpoints {
  readonly publish: string;
  readonly subscribe: string;
}

/** Who is in a mesh. */
export interface MeshEndpoints {
  /** Where this hub publishes: `tcp://0.0.0.0:5555`. */
  readonly bind: string;
  /** Where the others publish. That of this hub itself may be among them. */
  readonly peers: readonly string[];
}
