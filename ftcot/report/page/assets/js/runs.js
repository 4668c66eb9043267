// Runs: a table to search, sort and filter, and a page for each run.

const MEASURES = [
  { name: "accuracy", label: "Accuracy, 95 %", of: (run) => run.accuracy,
    show: (run) => [percent(run.accuracy, 2), el("span", { class: "muted" }, ` ${range(run.low, run.high)}`)] },
  { name: "best", label: "Best on test (epoch)", of: (run) => (run.best && run.epochs.length > 1 ? run.best.accuracy : null),
    show: (run) => (run.best ? `${percent(run.best.accuracy)} (${run.best.epoch})` : "–") },
  { name: "published", label: "Published", of: (run) => data.cells[run.cell].verdict?.accuracy ?? null,
    show: (run) => percent(data.cells[run.cell].verdict?.accuracy ?? null) },
  { name: "pairs", label: "Pairs", of: (run) => run.examples, show: (run) => number(run.examples) },
  { name: "device", label: "Device time", of: (run) => run.device_seconds || null, show: (run) => duration(run.device_seconds) },
  { name: "format", label: "Marker found", of: (run) => run.format_rate, show: (run) => percent(run.format_rate, 0) },
  { name: "cut", label: "Cut off", of: (run) => run.truncation_rate, show: (run) => percent(run.truncation_rate, 0) },
  { name: "words", label: "Tokens", of: (run) => run.mean_tokens, show: (run) => run.mean_tokens?.toFixed(0) ?? "–" },
];

function showAxis(axis, value) {
  const known = data.axes.find((one) => one.name === axis);
  return known.names[known.values.indexOf(value)] ?? "–";
}

function compared(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return 1; // what there is not goes last, up or down
  if (b === null || b === undefined) return -1;
  return typeof a === "string" || typeof b === "string" ? String(a).localeCompare(String(b), "en", { numeric: true }) : a - b;
}

function runs(section, at) {
  // What all runs share is said once, above; what tells them apart are the columns.
  const axes = data.axes.filter((axis) => axis.varies);
  const columns = [
    ...axes.map((axis) => ({ name: axis.name, label: axis.label, of: (run) => run.facts[axis.name],
      show: (run) => showAxis(axis.name, run.facts[axis.name]), text: true })),
    ...MEASURES.filter((measure) => data.runs.some((run) => measure.of(run) !== null)),
  ];
  const state = { find: at.find ?? "", sort: at.sort ?? "", filters: {} };
  for (const axis of axes) if (at[axis.name] !== undefined) state.filters[axis.name] = at[axis.name];

  const find = el("input", { type: "search", id: "find-runs", value: state.find, autocomplete: "off", spellcheck: "false",
    oninput: (event) => { state.find = event.target.value; show(); } });
  const count = el("p", { role: "status", class: "muted" });
  const body = el("tbody");
  const heads = columns.map((column) => {
    const button = el("button", { type: "button", onclick: () => {
      state.sort = state.sort === column.name ? `-${column.name}` : column.name;
      show();
    } }, column.label, el("span", { class: "arrow", "aria-hidden": "true" }));
    return el("th", { scope: "col", class: column.text ? null : "num" }, button);
  });
  const facets = axes.filter((axis) => axis.values.length > 1 && axis.values.length <= 40).map((axis) =>
    select(axis.label, [["", "any"], ...axis.values.map((value) => [String(value), showAxis(axis.name, value)])],
      state.filters[axis.name] ?? "", (value) => {
        if (value) state.filters[axis.name] = value;
        else delete state.filters[axis.name];
        show();
      }));
  const fixed = data.axes.filter((axis) => !axis.varies && axis.values[0] !== null);

  add(section, [
    el("h2", { tabindex: "-1" }, "Runs"),
    fixed.length > 0 && el("p", { class: "muted" }, "The same in all runs: ",
      fixed.map((axis, k) => [k ? ", " : "", `${axis.label} `, el("b", {}, words(showAxis(axis.name, axis.values[0])))])),
    el("form", { class: "tools", onsubmit: (event) => event.preventDefault() },
      el("div", { class: "field" }, el("label", { for: "find-runs" }, "Search"), find), facets,
      el("button", { type: "button", class: "quiet", onclick: () => {
        Object.assign(state, { find: "", sort: "", filters: {} });
        find.value = "";
        for (const box of section.querySelectorAll("select")) box.value = "";
        show();
      } }, "Clear")),
    count,
    framed(el("table", { id: "runs-table" },
      el("caption", {}, "Runs; a heading sorts by its column"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Run"), heads)), body), "Table of runs"),
  ]);

  const rows = data.runs.map((run, r) => {
    const row = el("tr", {},
      el("th", { scope: "row" }, el("a", { href: link("run", { r }) }, `${run.number ?? r}`, el("span", { class: "hash" }, ` ${run.hash.slice(0, 8)}`))),
      columns.map((column) => el("td", { class: column.text ? null : "num" }, column.text ? words(column.show(run)) : column.show(run))));
    const text = [run.label, run.hash, run.folder, ...Object.values(run.facts)].join(" ").toLowerCase();
    return { run, row, text };
  });

  function show() {
    const wanted = state.find.toLowerCase().split(/\s+/).filter(Boolean);
    let found = rows.filter(({ run, text }) => wanted.every((word) => text.includes(word))
      && Object.entries(state.filters).every(([axis, value]) => String(run.facts[axis]) === value));
    const down = state.sort.startsWith("-");
    const by = columns.find((column) => column.name === state.sort.replace("-", ""));
    if (by) {
      found = found.map((item) => [by.of(item.run), item]).sort(([a], [b]) =>
        (a ?? null) === null || (b ?? null) === null ? compared(a ?? null, b ?? null) : (down ? -1 : 1) * compared(a, b)).map(([, item]) => item);
    }
    body.replaceChildren(...found.map(({ row }) => row));
    heads.forEach((head, k) => {
      const on = by === columns[k];
      if (on) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
      head.querySelector(".arrow").textContent = on ? (down ? " ▼" : " ▲") : "";
    });
    const right = found.length ? found.reduce((sum, { run }) => sum + run.accuracy, 0) / found.length : null;
    count.textContent = found.length
      ? `${number(found.length)} of ${several(rows.length, "run")}, mean accuracy ${percent(right)}`
      : "No run fits. Clear the search or a filter.";
    if (placeNow().tab === "runs") remember("runs", { find: state.find, sort: state.sort, ...state.filters });
  }
  show();
}

// One run: its numbers, its epochs, its config.
async function run(section, at) {
  const one = data.runs[Number(at.r)];
  if (!one) {
    add(section, [el("h2", { tabindex: "-1" }, "No such run"), el("p", {}, el("a", { href: link("runs") }, "All runs"))]);
    return;
  }
  const cell = data.cells[one.cell];
  const config = el("pre", { class: "frame", tabindex: "0", role: "region", "aria-label": "Config" }, "…");
  const facts = data.axes.filter((axis) => one.facts[axis.name] !== null).map((axis) => [axis.label, showAxis(axis.name, one.facts[axis.name])]);
  const asked = testBook(one.group);
  add(section, [
    el("h2", { tabindex: "-1" }, `Run ${one.label}, seed ${one.facts.seed}`),
    el("p", { class: "lead" }, `${percent(one.accuracy, 2)} ${range(one.low, one.high)} of ${several(one.n, "test question")}, after epoch ${one.epoch}.`),
    el("p", {}, asked >= 0 && [el("a", { href: link("items", { book: asked, who: `r${at.r}`, show: "wrong" }) }, "What it got wrong"), " · "],
      el("a", { href: link("compare", { a: `r${at.r}` }) }, "Compare with another"), " · ",
      el("a", { href: link("compare", { a: `c${one.cell}` }) }, `Compare its setting (${several(cell.runs.length, "seed")})`), " · ",
      el("a", { href: link("runs") }, "All runs")),
    el("div", { class: "columns" },
      el("div", {}, el("h3", {}, "What it is"), definitions(facts)),
      el("div", {}, el("h3", {}, "What came out"), definitions([
        ["Accuracy by scorer", Object.entries(one.accuracies).map(([name, share]) => `${name} ${percent(share)}`).join(", ")],
        ["Best epoch on test", one.best ? `${percent(one.best.accuracy, 2)} (epoch ${one.best.epoch}); it flatters` : null],
        ["Best epoch on validation", one.best_validation ? `${percent(one.best_validation.accuracy, 2)} (epoch ${one.best_validation.epoch})` : null],
        ["A guess", percent(one.random)],
        ["The teacher", one.teacher_accuracy === null ? null : percent(one.teacher_accuracy)],
        ["Right answer somewhere", percent(one.contains)],
        ["Marker found", percent(one.format_rate)],
        ["Cut off", percent(one.truncation_rate)],
        ["Training pairs", number(one.examples)],
        ["Device time", one.device_seconds ? duration(one.device_seconds) : null],
        ["Tokens", Object.entries(one.tokens).map(([name, n]) => `${name} ${shortNumber(n)}`).join(", ")],
        ["Money", money(one.cost_usd)],
        ["Stages", Object.entries(one.seconds).map(([name, s]) => `${name} ${duration(s)}`).join(", ")],
        ["Folder", words(one.folder)],
        ["Hash", words(one.hash)],
      ]))),
    one.epochs.length > 1 && simpleTable("Accuracy on test by epoch", [
      ["Epoch", (row) => row[0]], ["Accuracy", (row) => percent(row[1], 2), "num"],
      ["", (row) => bar(row[1])]], one.epochs),
    simpleTable("What its answers are like, after the last epoch", [
      ["Kind", (row) => row[0].label], ["Share", (row) => percent(row[1]), "num"], ["", (row) => bar(row[1])],
      ["", (row) => row[0].sentence]], data.kinds.map((kind, k) => [kind, one.study[k] ?? 0]).filter(([, share]) => share > 0)),
    el("details", {}, el("summary", {}, "Config"), config),
  ]);
  config.textContent = visible(JSON.stringify((await inflatedJson("configs"))[Number(at.r)], null, 2));
}

function definitions(rows) {
  return el("dl", {}, rows.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function bar(share) {
  const outer = el("span", { class: "bar-track", "aria-hidden": "true" });
  const inner = el("span", { class: "bar-fill" });
  inner.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  outer.append(inner);
  return outer;
}
