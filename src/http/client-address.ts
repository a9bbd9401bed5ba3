/**
 * The address that a connection counts for. Undefined for this machine's own: behind a proxy that runs beside the server
 * everybody comes from there, and nobody shall pay for all. An IPv6 client has a whole network of 64 bits to itself, so it
 * counts as one.
 */
export function clientAddress({ remoteAddress }: { readonly remoteAddress?: string | undefined }): string | undefined {
  if (remoteAddress === undefined) return undefined;
  const address = remoteAddress.startsWith('::ffff:') ? remoteAddress.slice('::ffff:'.length) : remoteAddress;
  if (address === '::1' || /^127\.\d+\.\d+\.\d+$/.test(address)) return undefined;
  return address.includes(':') ? networkOf(address) : address;
}

/** The first four groups of an IPv6 address. */
function networkOf(address: string): string {
  const [before = '', after] = address.split('%', 1).join('').split('::');
  const groups = before === '' ? [] : before.split(':');
  if (after !== undefined) {
    const rest = after === '' ? [] : after.split(':');
    while (groups.length + rest.length < 8) groups.push('0');
    groups.push(...rest);
  }
  return `${groups.slice(0, 4).join(':')}::/64`;
}
