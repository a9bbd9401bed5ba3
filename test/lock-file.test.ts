import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

interface LockedPackage {
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

// npm leaves out packages for other platforms that it could not look up when it wrote the file; then `npm ci` fails on
// every machine, this one included.
it('the lock file has an entry for every optional dependency, whatever its platform', () => {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    readonly packages: Readonly<Record<string, LockedPackage>>;
  };
  const missing = Object.entries(packages).flatMap(([place, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies)
      .filter((name) => !placesSeenFrom(place).some((folder) => `${folder}node_modules/${name}` in packages))
      .map((name) => `${name} of ${place}`),
  );
  expect(missing).toEqual([]);
});

/** The folders whose `node_modules` Node searches for what is imported by the package at a place, with a slash each. */
function placesSeenFrom(place: string): string[] {
  const folders = [place === '' ? '' : `${place}/`];
  for (let end = place.lastIndexOf('node_modules/'); end !== -1; end = place.lastIndexOf('node_modules/', end - 1)) {
    folders.push(place.slice(0, end));
    if (end === 0) break;
  }
  return folders;
}
