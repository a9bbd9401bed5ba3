/**
 * How many bytes at the end of `data` begin a UTF-8 character that is not complete: 0 to 3.
 * 0 as well where the end can never become a character, whatever follows (RFC 3629).
 */
export function unfinishedCharacter(data: Uint8Array): number {
  for (let back = 1; back <= 3 && back <= data.length; back++) {
    const byte = data[data.length - back] as number;
    if (byte < 0x80) return 0;
    if (byte < 0xc0) continue; // a continuation byte: its first byte is further back
    const length = byte >= 0xf0 ? (byte <= 0xf4 ? 4 : 0) : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 0;
    return length > back ? back : 0;
  }
  return 0;
}
