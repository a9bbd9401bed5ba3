// Asked for its usage, a server says what it took so far. Processor time is steadier than the clock on a busy machine.
process.on('message', (message) => {
  if (message !== 'usage') return;
  const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
  process.send({ cpuSeconds: (userCPUTime + systemCPUTime) / 1e6, residentBytesMax: maxRSS * 1024 });
});
