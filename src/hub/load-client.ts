import { MillraceError } from '../errors.js';

/**
 * Imports a driver's client package. Throws `HUB_CLIENT_MISSING`, naming the package, when it is not installed.
 *
 * @param load `() => import('redis')`: written out by the driver so that bundlers see it.
 */
export async function loadClient<M>(packageName: string, load: () => Promise<M>): Promise<M> {
  try {
    return await load();
  } catch (cause) {
    const { code, message } = cause as { code?: unknown; message?: unknown };
    // A package that is there but lacks something of its own is another fault, and tells it best itself.
    const missing =
      (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') && String(message).includes(`'${packageName}'`);
    if (!missing) throw cause;
    throw new MillraceError(
      'HUB_CLIENT_MISSING',
      `This broker needs the package "${packageName}": npm install ${packageName}`,
      { package: packageName },
      { cause },
    );
  }
}
