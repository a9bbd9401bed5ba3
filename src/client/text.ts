/**
 * The bytes as text, decoded from UTF-8 as they arrive. A character whose bytes come in different chunks is held back
 * until it is whole; bytes that are not UTF-8 become U+FFFD, and a byte order mark is kept.
 */
export async function* decodeText(source: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  for await (const chunk of source) {
    const text = decoder.decode(chunk, { stream: true });
    if (text !== '') yield text;
  }
  const rest = decoder.decode();
  if (rest !== '') yield rest;
}
