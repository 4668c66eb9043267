// Compare: two runs, or two settings, on the same questions: which ones flipped, and whether that is more than chance.

async function compare(section, at) {
  const first = data.comparisons[0];
  const a = chosen(at.a) ?? chosen(first ? `c${first.a}` : "c0");
  const group = a.group;
  let b = chosen(at.b);
  if (!b || b.group !== group) {
    const match = data.comparisons.find((row) => `c${row.a}` === a.key);
    const others = data.cells.map((cell, c) => chosen(`c${c}`)).filter((other) => other.group === group && other.key !== a.key);
    b = (match && chosen(`c${match.b}`)) ?? others.at(-1) ?? a;
  }
  const again = (next) => { location.hash = link("compare", { a: a.key, b: b.key, ...next }); };
  const tasks = data.groups.map((name, g) => [String(g), name.label]).filter(([g]) => testBook(Number(g)) >= 0);
  add(section, [
    el("h2", { tabindex: "-1" }, "Compare"),
    el("form", { class: "tools", onsubmit: (event) => event.preventDefault() },
      tasks.length > 1 && select("Questions", tasks, String(group), (value) => {
        const cells = data.cells.map((cell, c) => chosen(`c${c}`)).filter((one) => one.group === Number(value));
        again({ a: cells[0].key, b: cells.at(-1).key });
      }),
      select("A", choices(group), a.key, (value) => again({ a: value })),
      select("B", choices(group), b.key, (value) => again({ b: value })),
      el("button", { type: "button", class: "quiet", onclick: () => again({ a: b.key, b: a.key }) }, "Swap A and B")),
  ]);
  const place = testBook(group);
  const book = books[place];
  await book.open();
  if (a.key === b.key) {
    add(section, [el("p", {}, "A and B are the same. Choose another.")]);
    return;
  }
  const found = counted(book, a, b);
  const known = data.comparisons.find((row) => (`c${row.a}` === a.key && `c${row.b}` === b.key) || (`c${row.a}` === b.key && `c${row.b}` === a.key));
  const seeds = found.pairs.length > 1;
  add(section, [
    el("div", { class: "versus" },
      el("div", { class: "card" }, el("h3", {}, "A: ", words(a.name)), el("p", { class: "big" }, percent(found.a / found.n, 2))),
      el("div", { class: "card" }, el("h3", {}, "B: ", words(b.name)), el("p", { class: "big" }, percent(found.b / found.n, 2))),
      el("div", { class: "card" }, el("h3", {}, "B − A"),
        known ? tested(known, `c${known.a}` === a.key ? 1 : -1) : untested(found, seeds))),
    simpleTable(seeds ? "Pairs of a question and a seed" : "Questions", [
      ["", (row) => row[0]], ["B right", (row) => number(row[1]), "num"], ["B wrong", (row) => number(row[2]), "num"]],
      [["A right", found.both, found.onlyA], ["A wrong", found.onlyB, found.neither]], { id: "crossed" }),
    flipped("Right in B only", "gained", found.rows.filter((row) => row.gain > 0).sort((x, y) => y.gain - x.gain), place, a, b),
    flipped("Right in A only", "lost", found.rows.filter((row) => row.gain < 0).sort((x, y) => x.gain - y.gain), place, a, b),
  ]);
}

// What the report says of two of its settings; `sign` is -1 where they stand the other way round.
function tested(known, sign) {
  const bounds = [sign * known.low, sign * known.high].sort((x, y) => x - y);
  return [
    el("p", { class: "big", id: "difference" }, `${points(sign * known.difference)} points`),
    el("p", {}, `95 % interval ${range(...bounds)}`),
    el("p", {}, el("b", { id: "p-value", "data-p": String(known.p) }, pWords(known.p)),
      data.comparisons.length > 1 && `; corrected for the ${number(data.comparisons.length)} comparisons of the report (Holm) ${pWords(known.p_holm)}`),
    el("p", { class: "muted" }, `The report’s test: ${known.test}.`),
  ];
}

// Of two that the report does not compare: what can be counted here.
function untested(found, seeds) {
  const [low, high] = bootstrap(found.values, found.clusters);
  const p = mcnemar(found.onlyA, found.onlyB);
  return [
    el("p", { class: "big", id: "difference" }, `${points((found.b - found.a) / found.n)} points`),
    el("p", {}, `95 % interval ${range(low, high)}: paired bootstrap over ${found.clusters ? "templates" : "questions"}`),
    el("p", {}, "McNemar’s exact test: ", el("b", { id: "p-value", "data-p": String(p) }, pWords(p)), "; corrected for nothing"),
    seeds && el("p", { class: "muted" }, `The test takes each of the ${number(found.n)} pairs of a question and a seed (${found.pairs.map(([x]) => x.facts.seed).join(", ")}) as a toss of its own, `
      + "so it is too sure where seeds agree; and neither it nor the interval knows how other seeds would differ."),
    !seeds && el("p", { class: "muted" }, "Both are about these two runs: how other seeds would differ is not counted."),
    found.clusters && el("p", { class: "muted" }, "The test takes questions of one template as if they were apart, so it is too sure where students have all or none of a template."),
  ];
}

// Runs of two settings go together by their seed; where seeds differ, in order.
function paired(a, b) {
  const same = a.runs.map((run) => [run, b.runs.find((other) => other.facts.seed === run.facts.seed)]);
  if (same.every(([, other]) => other)) return same;
  return a.runs.slice(0, b.runs.length).map((run, k) => [run, b.runs[k]]);
}

function counted(book, a, b) {
  const pairs = paired(a, b);
  const sum = { pairs, n: 0, a: 0, b: 0, both: 0, onlyA: 0, onlyB: 0, neither: 0, rows: [], values: [], clusters: null };
  const clusters = [];
  for (let q = 0; q < book.n; q++) {
    let inA = 0, inB = 0, n = 0;
    for (const [x, y] of pairs) {
      const [p, r] = [isRight(book, x, q), isRight(book, y, q)];
      if (p === null || r === null) continue;
      n++;
      inA += p;
      inB += r;
      sum[p ? (r ? "both" : "onlyA") : r ? "onlyB" : "neither"]++;
    }
    if (!n) continue;
    sum.n += n;
    sum.a += inA;
    sum.b += inB;
    sum.rows.push({ q, gain: inB - inA, inA, inB, n });
    sum.values.push((inB - inA) / n);
    clusters.push(book.questions[q].cluster);
  }
  if (clusters.every((cluster) => cluster !== null) && new Set(clusters).size < clusters.length) sum.clusters = clusters;
  return sum;
}

function flipped(title, name, rows, place, a, b) {
  const book = books[place];
  const list = el("ol", { class: "plain flips", id: `flips-${name}` });
  const more = el("button", { type: "button", class: "quiet" });
  let shown = 0;
  const show = () => {
    for (const row of rows.slice(shown, shown + 50)) {
      const question = book.questions[row.q];
      list.append(el("li", {}, el("a", { href: link("items", { book: place, q: row.q, a: a.key, b: b.key }) },
        el("span", { class: "hash" }, `#${question.index} `), words(snippet(question))),
        row.n > 1 && el("span", { class: "muted" }, ` right in ${row.inA} → ${row.inB} of ${row.n} seeds`)));
    }
    shown = Math.min(rows.length, shown + 50);
    more.textContent = `Show more (${number(rows.length - shown)} left)`;
    more.hidden = shown >= rows.length;
  };
  more.addEventListener("click", show);
  show();
  return el("section", { "aria-labelledby": `head-${name}` },
    el("h3", { id: `head-${name}` }, `${title}: ${several(rows.length, "question")}`),
    rows.length ? list : el("p", { class: "muted" }, "None."), more);
}

function snippet(question, length = 110) {
  const text = (question.text || `question ${question.index}, answer ${question.gold}`).replace(/\s+/g, " ").trim();
  return text.length > length ? `${[...text.slice(0, length)].slice(0, -1).join("")}…` : text;
}
