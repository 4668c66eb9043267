// Curves: the charts, each with its table. Vega is unpacked when the first one is to be drawn.

let vega = null;

// The library is inflated and put in as a script of its own; the page's policy knows its hash.
function loadVega() {
  return (vega ??= (async () => {
    const script = el("script");
    script.textContent = await inflatedText("vega");
    document.head.append(script);
  })());
}

// Of each chart, by name: one view for each theme. Both are drawn, so the theme can change at once, and paper is light.
const views = new Map();

async function draw(place, chart) {
  const room = Math.min(main.clientWidth - 80, 900);
  const spec = { ...chart.spec };
  if (spec.width === "container") spec.width = Math.max(220, room - 190); // beside it stands the legend
  if (spec.concat) {
    const wide = main.clientWidth - 80;
    spec.columns = Math.max(1, Math.min(spec.columns, spec.concat.length, Math.floor(wide / 320)));
    const width = Math.max(180, Math.min(440, Math.floor(wide / spec.columns) - 75));
    spec.concat = spec.concat.map((panel) => ({ ...panel, width, height: Math.round(0.7 * width) }));
  }
  for (const theme of ["light", "dark"]) {
    const inner = el("div", { class: `on-${theme}` });
    place.append(inner);
    const config = { ...data.looks[theme], font: "system-ui, sans-serif" };
    const { view } = await vegaEmbed(inner, spec, { config, ast: true, actions: false, renderer: "svg", defaultStyle: false, logLevel: 1 });
    views.set(chart.name, [...(views.get(chart.name) ?? []), view]);
  }
  for (const svg of place.querySelectorAll("svg")) svg.setAttribute("aria-hidden", "true");
}

async function curves(section, at) {
  add(section, [el("h2", { tabindex: "-1" }, "Curves")]);
  if (!data.charts.length) {
    add(section, [el("p", {}, "These runs make no figure: none was asked for, and they differ in nothing that can stand along an axis.")]);
    return;
  }
  if (data.charts.length > 1) {
    add(section, [el("ul", { class: "inline" }, data.charts.map((chart, c) =>
      el("li", {}, el("a", { href: link("curves", { chart: c }) }, chart.title))))]);
  }
  const drawn = data.charts.map((chart, c) => {
    const place = el("div", { class: "chart", role: "img", "aria-label": `${chart.title}. ${chart.caption} The same as a table below.` });
    add(section, [el("article", { id: `chart-${c}`, class: "card wide", tabindex: "-1" },
      el("h3", {}, chart.title),
      bringOut(chart),
      chart.spec && el("div", { class: "frame", tabindex: "0", role: "region", "aria-label": `${chart.title}, the figure` }, place),
      chart.signs && el("p", { class: "muted small" }, chart.signs),
      el("p", {}, chart.caption),
      chart.note && el("p", { class: "muted" }, chart.note),
      chart.findings.length > 0 && el("ul", { class: "plain" }, chart.findings.map((f) =>
        el("li", {}, badge(f.word), ` ${f.where ? `${f.where}: ` : ""}${f.words}; ${pWords(f.p)}, corrected ${pWords(f.p_holm)}`))),
      el("details", { open: !chart.spec }, el("summary", {}, `${chart.title} as a table`), chartTable(chart)))]);
    return [place, chart];
  });
  await loadVega();
  for (const [place, chart] of drawn) {
    if (chart.spec) await draw(place, chart);
  }
  section.dataset.drawn = "true";
  arriveAtChart(at);
}

// One series in full strength, the others faint: what a click in the legend does, for the keyboard.
function bringOut(chart) {
  const names = chart.lines;
  if (names.length < 2 || !chart.spec?.params?.some((param) => param.name === "focus")) return null;
  return select("Bring out", [["", "all series"], ...names.map((name) => [name, name])], "",
    (name) => views.get(chart.name)?.forEach((view) => view.signal("focus", name || null).runAsync()));
}

function arriveAtChart(at) {
  if (at.chart === undefined) return;
  const chart = document.getElementById(`chart-${Number(at.chart)}`);
  chart?.scrollIntoView();
  chart?.focus();
}

function chartTable(chart) {
  return simpleTable(`${chart.title}: every point`, [
    [chart.panel || "Panel", (row) => row.panel],
    [chart.series || "Series", (row) => row.series],
    [chart.x, (row) => String(row.x)],
    ["Accuracy", (row) => percent(row.accuracy, 2), "num"],
    ["95 % interval", (row) => (row.low === null ? "–" : range(row.low, row.high)), "num"],
    ["Questions", (row) => (row.n === null ? "–" : number(row.n)), "num"],
    ["Seeds", (row) => (row.seeds === null ? "published" : row.seeds), "num"],
    ["Note", (row) => row.note],
  ], chart.table);
}
