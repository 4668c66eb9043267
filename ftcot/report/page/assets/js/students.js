// Test questions: who has which right, and what each student said.

// Students: for each setting, each seed: what was said after the last epoch, and what was different before.
function studentReader(book, about, place) {
  const columns = about.columns.map(([r, epoch], column) => ({ run: data.runs[r], r, epoch, column }));
  const ofRun = grouped(columns, (column) => column.r);
  const all = [...ofRun.keys()].map((r) => data.runs[r]);
  const kinds = [...new Set(all.flatMap((run) => Object.keys(run.study)))].map(Number).sort((x, y) => x - y);
  return {
    filters: [
      ["", "all questions"], ["wrong", "wrong by all"], ["right", "right by all"], ["mixed", "right by some"],
      ["flipped", "flipped between A and B"], ["epochs", "right in an earlier epoch, wrong in the last"],
      ...kinds.map((k) => [`kind${k}`, `somebody: ${data.kinds[k].label}`]),
    ],
    sorts: [["", "number"], ["hard", "hardest first"], ["easy", "easiest first"], ["split", "most disagreement first"]],
    who: ["Counted", [["", "all runs"], ...choices(about.group).map(([key, name, children]) => [key, name, children])]],
    ready(state) {
      const counted = chosen(state.who)?.runs ?? all;
      const [a, b] = [chosen(state.a) ?? chosen(defaultPair(about.group)[0]), chosen(state.b) ?? chosen(defaultPair(about.group)[1])];
      const right = new Float32Array(book.n);
      for (let q = 0; q < book.n; q++) {
        let yes = 0, n = 0;
        for (const run of counted) {
          const marks = book.marks(run.last_column, q);
          if (!(marks & PRESENT)) continue;
          n++;
          if (marks & RIGHT) yes++;
        }
        right[q] = n ? yes / n : NaN;
      }
      const kind = state.show.startsWith("kind") ? Number(state.show.slice(4)) + 1 : null;
      const tests = {
        "": () => true,
        wrong: (q) => right[q] === 0,
        right: (q) => right[q] === 1,
        mixed: (q) => right[q] > 0 && right[q] < 1,
        flipped: (q) => a && b && share(book, a, q) !== share(book, b, q),
        epochs: (q) => counted.some((run) => isRight(book, run, q) === false
          && ofRun.get(data.runs.indexOf(run)).some(({ column }) => book.marks(column, q) & RIGHT)),
      };
      return {
        fits: kind ? (q) => counted.some((run) => kindOf(book, run.last_column, q) === kind) : (tests[state.show] ?? tests[""]),
        order: { hard: (x, y) => right[x] - right[y] || x - y, easy: (x, y) => right[y] - right[x] || x - y,
          split: (x, y) => Math.abs(right[x] - 0.5) - Math.abs(right[y] - 0.5) || x - y }[state.sort],
        note: (q) => el("span", { class: "share" }, bar(right[q]), ` ${Math.round(right[q] * counted.length)}/${counted.length}`),
        summary: (q) => el("p", {}, `Right in ${Math.round(right[q] * counted.length)} of ${several(counted.length, "run")}`,
          state.who ? ` of ${chosen(state.who).name}` : "", "."),
      };
    },
    body(q, heard, state, again) {
      const cells = data.cells.map((cell, c) => [cell, c]).filter(([cell]) => data.runs[cell.runs[0]].group === about.group);
      const open = state.who ? [chosen(state.who).key] : all.length <= 12 ? cells.map(([, c]) => `c${c}`) : defaultPair(about.group);
      const [a, b] = [chosen(state.a), chosen(state.b)];
      return [
        a && b && a.group === about.group && b.group === about.group && pairPart(book, q, heard, a, b, ofRun),
        nearPart(book, q, about),
        el("h4", {}, "What the students said"),
        cells.map(([cell, c]) => {
          const runs = cell.runs.map((r) => data.runs[r]);
          const isOpen = open.includes(`c${c}`) || cell.runs.some((r) => open.includes(`r${r}`));
          return unfolding({ open: isOpen, class: "cell" }, [el("b", {}, words(cell.label)), " ", runs.map((run) => tick(book, run, q))],
            () => cell.runs.map((r) => el("div", { class: "voice" }, runPart(book, q, heard, ofRun.get(r) ?? []))));
        }),
      ];
    },
  };
}

function defaultPair(group) {
  const known = data.comparisons.find((row) => data.runs[data.cells[row.a].runs[0]].group === group);
  if (known) return [`c${known.a}`, `c${known.b}`];
  const cells = data.cells.map((cell, c) => [cell, c]).filter(([cell]) => data.runs[cell.runs[0]].group === group);
  return [`c${cells[0][1]}`, `c${cells.at(-1)[1]}`];
}

function share(book, who, q) {
  const known = who.runs.map((run) => isRight(book, run, q)).filter((right) => right !== null);
  return known.filter(Boolean).length / known.length;
}

function tick(book, run, q) {
  const right = isRight(book, run, q);
  const label = right === null ? "not asked" : right ? "right" : kindLabel(kindOf(book, run.last_column, q));
  return el("span", { class: `tick ${right ? "good" : right === null ? "" : "bad"}`, role: "img", title: `seed ${run.facts.seed}: ${label}`,
    "aria-label": `seed ${run.facts.seed}: ${label}` }, right === null ? "·" : right ? "✓" : "✗");
}

function verdictLine(book, column, q, entry) {
  const marks = book.marks(column, q);
  const right = Boolean(marks & RIGHT);
  const kind = marks & 15;
  const scorers = data.scorers.filter((_, k) => marks & (1 << (8 + k)));
  return [
    el("span", { class: `badge ${right ? "good" : "bad"}` }, el("span", { "aria-hidden": "true" }, right ? "✓ " : "✗ "), right ? "right" : "wrong"),
    entry.answer !== null ? [" read as ", el("b", {}, words(entry.answer))] : " no answer read",
    kind && data.kinds[kind - 1].label !== "right" ? ` · ${data.kinds[kind - 1].label}` : "",
    scorers.length !== 0 && scorers.length !== data.scorers.length ? ` · right by ${listed(scorers)} only` : "",
    marks & (1 << 6) ? " · cut off" : "",
  ];
}

// One run: its epochs, the last one whole, each earlier one with what differs from the one after it.
function runPart(book, q, heard, columns) {
  if (!columns.length) return el("p", { class: "muted" }, "not here");
  const run = columns[0].run;
  const ordered = [...columns].sort((x, y) => x.epoch - y.epoch);
  const entries = ordered.map((column) => [column, heard[column.column]]).filter(([, entry]) => entry);
  if (!entries.length) return el("p", { class: "muted" }, `Seed ${run.facts.seed}: not asked.`);
  return [
    el("h5", {}, `Seed ${run.facts.seed}`, el("span", { class: "muted" }, ` · run ${run.number ?? ""} ${run.hash.slice(0, 8)}`)),
    entries.map(([column, entry], k) => {
      const before = k ? entries[k - 1][1].text : null;
      const same = before === entry.text;
      const isBest = run.best && run.best.epoch === column.epoch && entries.length > 1;
      return el("div", { class: "epoch" },
        el("p", { class: "small" }, column.epoch ? `After epoch ${column.epoch}` : "Not trained", column.epoch === run.epoch && column.epoch ? ", the last" : "",
          isBest ? ", the best on test" : "", ": ", verdictLine(book, column.column, q, entry)),
        entry.before !== null && el("details", {}, el("summary", {}, "What it said first"), said(entry.before)),
        same ? el("p", { class: "muted small" }, "The same text as before.") : said(entry.text, before === null ? null : marked(before, entry.text)),
        !same && before !== null && el("p", { class: "muted small" }, `Marked: what is new since epoch ${entries[k - 1][0].epoch}, and what is gone.`));
    }),
  ];
}

// A and B of a comparison, seed by seed, the differences marked in B.
function pairPart(book, q, heard, a, b, ofRun) {
  return el("section", { class: "pair" },
    el("h4", {}, "A and B side by side"),
    paired(a, b).map(([x, y]) => {
      const [first, second] = [heard[x.last_column], heard[y.last_column]];
      if (!first || !second) return null;
      return el("div", { class: "versus" },
        [[a, x, first, null], [b, y, second, marked(first.text, second.text)]].map(([who, run, entry, parts], side) =>
          el("div", { class: "card" }, el("h5", {}, `${side ? "B" : "A"}: `, words(runLabel(run))),
            el("p", { class: "small" }, verdictLine(book, run.last_column, q, entry)), said(entry.text, parts))));
    }),
    el("p", { class: "muted small" }, "Marked in B: words that A does not have, and words of A that are gone."));
}

// The training questions most like this one, and the rationales that were written for them.
function nearPart(book, q, about) {
  const place = data.books.findIndex((other) => other.kind === "train" && other.task === about.task);
  if (place < 0 || !book.questions[q].text) return null;
  const inner = el("div", {}, el("p", { class: "muted" }, "…"));
  const part = el("details", { class: "cell", id: "taught" }, el("summary", {}, el("b", {}, "What the teacher said"), " to training questions like this one"), inner);
  part.addEventListener("toggle", async () => {
    const other = books[place];
    await other.open();
    const reader = teacherReader(other, data.books[place]);
    const widest = data.books[place].lessons.reduce((best, lesson, k, all) => (lesson.width > all[best].width ? k : best), 0);
    const near = nearest(other, book.questions[q].text);
    const heard = await Promise.all(near.map((t) => other.said(t)));
    fill(inner, near.map((t, k) => el("details", { open: k === 0 },
      el("summary", {}, el("span", { class: "hash" }, `training #${other.questions[t].index} `), words(snippet(other.questions[t], 160))),
      el("p", { class: "small" }, el("a", { href: link("items", { book: place, q: t, who: widest }) }, "Open it")),
      reader.body(t, heard[k], { who: widest }))));
  }, { once: true });
  return part;
}

function nearest(book, text, n = 3) {
  const parts = (t) => new Set(t.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []);
  book.parts ??= book.questions.map((question) => parts(question.text));
  const mine = parts(text);
  const scores = book.parts.map((theirs, k) => {
    let both = 0;
    for (const word of mine) if (theirs.has(word)) both++;
    return [both / (mine.size + theirs.size - both || 1), k];
  });
  return scores.sort((x, y) => y[0] - x[0] || x[1] - y[1]).slice(0, n).map(([, k]) => k);
}
