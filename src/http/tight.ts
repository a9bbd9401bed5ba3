/** How much may be held beside what is meant: what comes with one small read of a socket. */
const WASTE_BYTES_MAX = 1024;

/**
 * Bytes that are kept for a while, as a plain `Uint8Array`: copied where they are a small part of something larger (a read
 * of a socket, a pool), which would be kept as a whole.
 */
export function tight(bytes: Uint8Array): Uint8Array {
  if (bytes.buffer.byteLength - bytes.byteLength > WASTE_BYTES_MAX) return new Uint8Array(bytes);
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
