#!/usr/bin/env node
import { run } from './program.js';

const exitCode = await run(process.argv.slice(2));
// Idle keep-alive connections and an open terminal would keep the process; what was printed must still get out.
process.stdout.write('', () => process.exit(exitCode));
