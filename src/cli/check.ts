import { Command } from 'commander';
import { MillraceError } from '../errors.js';
import { checkRoot, type RootReport } from '../server/index.js';
import { CommandFailed, EXIT } from './exit.js';
import type { LogOptions } from './log.js';
import { jsonOption } from './options.js';

interface CheckOptions extends LogOptions {
  readonly setAside?: boolean;
}

/** `millrace check`: what a root is like that no server is on; and the way out where it is damaged. */
export function checkCommand(): Command {
  return new Command('check')
    .description('Look through the directory of a stopped server for damage.')
    .argument('<root>', 'directory of the streams')
    .option('--set-aside', 'put a damaged journal aside, with the streams that the damage touches; keep all others')
    .addOption(jsonOption())
    .action(check);
}

async function check(root: string, options: CheckOptions): Promise<void> {
  let report: RootReport;
  try {
    report = await checkRoot(root, { setAside: options.setAside === true });
  } catch (error) {
    throw new CommandFailed(EXIT.cannotStart, error);
  }
  console.log(options.json === true ? JSON.stringify(report) : sentences(report).join('\n'));
  if (!isSound(report) && report.setAside === undefined) throw new CommandFailed(EXIT.damaged, damageOf(report));
}

function isSound({ damages, unreadableMetadata }: RootReport): boolean {
  return damages.length === 0 && unreadableMetadata.length === 0;
}

function damageOf({ root, damages, unreadableMetadata }: RootReport): Error {
  if (damages.length === 0) return new Error(`${unreadableMetadata.length} metadata files of ${root} cannot be read.`);
  return new MillraceError('JOURNAL_CORRUPT', `The journal of ${root} is damaged in ${damages.length} places.`);
}

function sentences(report: RootReport): string[] {
  const { root, damages, touched, unnamed, unreadableMetadata, losses, setAside } = report;
  const lines = damages.map(({ file, position, why }) => `${file}, byte ${position}: ${why}`);
  for (const { path, why } of touched) lines.push(`touched: ${path} (${why})`);
  if (unnamed === 'many') {
    lines.push('What else was lost nobody can tell; every stream may lack its newest appends.');
  } else if (unnamed > 0) {
    lines.push(`${unnamed} of the lost records name no stream; every stream may lack something of them.`);
  }
  for (const file of unreadableMetadata) {
    lines.push(`${file}: cannot be read; its stream is taken for a file that was put there by hand`);
  }
  if (losses > 0) lines.push(`${losses} times acknowledged bytes are kept in ${root}/.millrace/lost.`);
  if (setAside !== undefined) {
    lines.push(`The journal and ${count(touched.length)} were put into ${setAside}. ${root} can be served again.`);
  } else if (damages.length > 0) {
    const kept = touched.length === 0 ? 'all streams' : `all streams but ${count(touched.length)}`;
    lines.push(
      `Nothing was changed. A backup has more; without one, this keeps ${kept}: millrace check --set-aside ${root}`,
    );
  } else if (isSound(report)) {
    lines.push(`${root} is sound.`);
  }
  return lines;
}

function count(streams: number): string {
  return streams === 1 ? 'the one that is touched' : `the ${streams} that are touched`;
}
