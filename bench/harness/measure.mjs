// What all benchmarks share: rounds in turn, medians, tables. Figures of one run belong together; compare the ratios.

/** Rounds of each contender, unless MILLRACE_BENCH_ROUNDS says otherwise. */
export const ROUNDS = Number(process.env.MILLRACE_BENCH_ROUNDS ?? 5);

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Runs every contender once per round, in turn, so that whatever else the machine does meets all of them alike.
 * A contender is a name and a function that resolves to its figure. Answers the medians by name.
 */
export async function rounds(contenders, count = ROUNDS) {
  const figures = new Map(Object.keys(contenders).map((name) => [name, []]));
  for (let round = 0; round < count; round++) {
    for (const [name, run] of Object.entries(contenders)) figures.get(name).push(await run());
  }
  return Object.fromEntries([...figures].map(([name, values]) => [name, median(values)]));
}

/** Prints rows of cells with aligned columns; the first row is the heading. */
export function table(rows) {
  const cells = rows.map((row) => row.map(String));
  const widths = cells[0].map((_, column) => Math.max(...cells.map((row) => row[column].length)));
  const line = (row) =>
    `| ${row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join(' | ')} |`;
  console.log(line(cells[0]));
  console.log(
    `|${widths.map((width, column) => (column === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`,
  );
  for (const row of cells.slice(1)) console.log(line(row));
}

/** A number for people: three significant digits, thousands apart. */
export function figure(value) {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

/** How many times as much. */
export function ratio(value) {
  return `${figure(value)}x`;
}
