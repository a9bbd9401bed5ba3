// npm run bench -- NAME: runs bench/NAME.mjs on what `npm run build` made. See README.md beside this file.
import { readdirSync } from 'node:fs';
import { cpus } from 'node:os';

const [name] = process.argv.slice(2);
const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.mjs') && file !== 'run.mjs')
  .map((file) => file.replace('.mjs', ''));

if (name === undefined || !names.includes(name)) {
  console.error(`usage: npm run bench -- ${names.join(' | ')}`);
  process.exit(2);
}
console.log(`${name}: Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model ?? 'unknown CPU'}\n`);
await import(`./${name}.mjs`);
