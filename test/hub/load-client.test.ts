import { expect, it } from 'vitest';
import { loadClient } from '../../src/hub/index.js';

/** What Node says of an import that finds nothing. */
function notFound(name: string): Error {
  const error = new Error(`Cannot find package '${name}' imported from /somewhere/driver.js`);
  return Object.assign(error, { code: 'ERR_MODULE_NOT_FOUND' });
}

it('names the package to install when a client is missing', async () => {
  await expect(loadClient('acme', () => Promise.reject(notFound('acme')))).rejects.toMatchObject({
    code: 'HUB_CLIENT_MISSING',
    message: expect.stringContaining('npm install acme'),
    details: { package: 'acme' },
  });
});

it('leaves other errors as they are: a client that is there, and lacks something of its own', async () => {
  const error = notFound('something-of-its-own');
  await expect(loadClient('acme', () => Promise.reject(error))).rejects.toBe(error);
});

it('gives the module', async () => {
  expect(await loadClient('acme', async () => ({ connect: 1 }))).toEqual({ connect: 1 });
});
