/** Chunked transfer coding (RFC 9112, section 7.1), for bytes that are written straight to a socket. */

const CR = 0x0d;
const LF = 0x0a;

/** One chunk around `data`; nothing for no data, since an empty chunk would end the body. */
export function encodeChunk(data: Uint8Array): Uint8Array {
  const { length } = data;
  if (length === 0) return data;
  const size = length.toString(16);
  const chunk = new Uint8Array(size.length + 2 + length + 2);
  let at = 0;
  for (; at < size.length; at++) chunk[at] = size.charCodeAt(at);
  chunk[at++] = CR;
  chunk[at++] = LF;
  chunk.set(data, at);
  at += length;
  chunk[at++] = CR;
  chunk[at] = LF;
  return chunk;
}
