#!/usr/bin/env node
import { run } from './program.js';

// Who reads our notes may be gone before us (`2>&1 | head -1`, or Ctrl-C with `| tee log`): they are lost, the work goes on.
process.stderr.on('error', () => undefined);

const exitCode = await run(process.argv.slice(2));
// Idle keep-alive connections and an open terminal would keep the process; what was printed must still get out.
process.stdout.write('', () => process.exit(exitCode));
