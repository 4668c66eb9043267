// Statistics that a reader can ask for: of any two runs, on the questions that both were asked.

function logFactorial(n) {
  const known = logFactorial.known ??= [0];
  for (let k = known.length; k <= n; k++) known[k] = known[k - 1] + Math.log(k);
  return known[n];
}

// McNemar's exact test, two-sided: of onlyA + onlyB questions that one has right and the other wrong, each is a toss.
function mcnemar(onlyA, onlyB) {
  const n = onlyA + onlyB;
  let below = 0;
  for (let k = 0; k <= Math.min(onlyA, onlyB); k++) {
    below += Math.exp(logFactorial(n) - logFactorial(k) - logFactorial(n - k) - n * Math.LN2);
  }
  return Math.min(1, 2 * below);
}

// Random numbers that are the same on every screen.
function mulberry(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// 95 % interval of the mean of `values`, one a question, by drawing questions again (whole clusters of them).
function bootstrap(values, clusters, draws = 2000) {
  const sums = new Map();
  values.forEach((value, place) => {
    const key = clusters?.[place] ?? `alone ${place}`;
    const sum = sums.get(key) ?? [0, 0];
    sums.set(key, [sum[0] + value, sum[1] + 1]);
  });
  const groups = [...sums.values()];
  const random = mulberry(20240);
  const means = [];
  for (let draw = 0; draw < draws; draw++) {
    let total = 0, n = 0;
    for (let k = 0; k < groups.length; k++) {
      const group = groups[Math.floor(random() * groups.length)];
      total += group[0];
      n += group[1];
    }
    means.push(total / n);
  }
  means.sort((a, b) => a - b);
  return [means[Math.floor(0.025 * draws)], means[Math.ceil(0.975 * draws) - 1]];
}
