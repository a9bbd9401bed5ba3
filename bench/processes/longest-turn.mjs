// Asked to watch, a server says at the next question which turn of its event loop was the longest. On a busy machine the
// clock counts what others did in that time. Processor time of the thread does not; older versions of Node know only that
// of the process, with its other threads in it: there the smaller of both counts.
const cpuMs = () => {
  const { user, system } = process.threadCpuUsage?.() ?? process.cpuUsage();
  return (user + system) / 1000;
};

let longestMs;
let atMs;
let atCpuMs;

function turn() {
  if (longestMs === undefined) return;
  longestMs = Math.max(longestMs, Math.min(performance.now() - atMs, cpuMs() - atCpuMs));
  begin();
}

function begin() {
  atMs = performance.now();
  atCpuMs = cpuMs();
  setImmediate(turn);
}

process.on('message', (message) => {
  if (message === 'watch turns') {
    longestMs = 0;
    begin();
    process.send({});
  } else if (message === 'longest turn') {
    process.send({ longestMs });
    longestMs = undefined;
  }
});
