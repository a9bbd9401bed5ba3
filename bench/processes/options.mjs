/** What the benchmark gave this process. */
export const options = JSON.parse(process.argv[2] ?? '{}');

// Without its parent it has nothing to do.
process.once('disconnect', () => process.exit());
