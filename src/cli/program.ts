import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { appendCommand } from './append.js';
import { checkCommand } from './check.js';
import { CommandFailed, EXIT, exitCodeOf } from './exit.js';
import { followCommand } from './follow.js';
import { type LogOptions, reportError } from './log.js';
import { publishCommand } from './publish.js';
import { serveCommand } from './serve.js';
import { subscribeCommand } from './subscribe.js';

/** Every verb: a new one is a file of its own and a line here. */
const verbs: readonly (() => Command)[] = [
  serveCommand,
  checkCommand,
  appendCommand,
  followCommand,
  publishCommand,
  subscribeCommand,
];

/** Runs a command line (without `node` and the script) and answers the exit code. Prints what there is to print. */
export async function run(args: readonly string[]): Promise<number> {
  const program = new Command('millrace')
    .description('Append-only streams that anyone can append to and any number of readers follow.')
    .version(version(), '-V, --version')
    .showHelpAfterError('(add --help for what is possible)');
  for (const verb of verbs) program.addCommand(verb());
  // Every level reports to us instead of ending the process, or the exit code would be commander's.
  for (const command of [program, ...program.commands]) command.exitOverride().configureHelp({ sortOptions: true });
  try {
    await program.parseAsync([...args], { from: 'user' });
    return EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    reportError(error, logOptionsOf(program, args));
    return error instanceof CommandFailed ? error.exitCode : exitCodeOf(error);
  }
}

function logOptionsOf(program: Command, args: readonly string[]): LogOptions {
  const command = program.commands.find((candidate) => candidate.name() === args[0]);
  return command?.opts<LogOptions>() ?? {};
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
