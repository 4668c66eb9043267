// Overview: the findings, what they cost, what the paper has, what was left out.

function overview(section) {
  const most = Math.max(...data.cells.map((cell) => cell.last.seeds));
  const tasks = [...new Set(data.cells.map((cell) => cell.task))];
  add(section, [
    el("h2", { tabindex: "-1" }, "Overview"),
    el("p", { class: "lead" },
      `${several(data.runs.length, "run")} of ${several(data.cells.length, "setting")} on ${listed(tasks)}. `,
      most > 1
        ? `A setting is a set of runs that differ in their seed only (up to ${most} seeds); intervals are 95 %.`
        : "One seed each: how much another seed would change is not known; intervals (95 %) are over questions only."),
    data.notes.length > 0 && el("ul", { class: "muted" }, data.notes.map((note) => el("li", {}, words(note)))),
    findingsPart(),
    data.answers.map(answerPart),
    comparisonsPart(),
    paperPart(),
    skippedPart(),
  ]);
}

// A line a claim: on how much of what was tried it holds.
function findingsPart() {
  const claims = grouped(data.findings, (finding) => finding.claim);
  return el("section", { "aria-labelledby": "findings" },
    el("h3", { id: "findings" }, "In short"),
    claims.size === 0 && el("p", {}, "No finding can be tested with these runs: a trend needs at least two settings that differ in one thing. "
      + "Two runs can be compared under Compare."),
    el("ul", { class: "plain findings" }, [...claims].map(([claim, found]) => {
      const ways = grouped(found, (finding) => finding.word);
      return el("li", {},
        [...ways].map(([word, those]) => [badge(word), found.length > 1 ? ` in ${those.length} of ${found.length}  ` : " "]),
        el("b", {}, claim), " ",
        found.length <= 3 && el("ul", { class: "plain small" }, found.map((one) =>
          el("li", {}, `${one.where ? `${one.where}: ` : ""}${one.words}; ${pWords(one.p)}; ${corrected(one)}.`))));
    })));
}

function corrected(finding) {
  const n = data.findings.length;
  return n === 1 ? "it is the only test here" : `corrected for the ${n} findings here (Holm) ${pWords(finding.p_holm)}`;
}

// Does more of it help, by how much, how sure, at what cost, on which questions, and is it what the paper found?
const ASKED = [
  ["By how much", (row) => [el("b", {}, `${points(row.difference)} points`), ": from ", end(row.a), " to ", end(row.b)]],
  ["How sure", (row) => (row.finding ? howSure(row.finding) : "Not tested as a trend; Compare tests the two.")],
  ["At what cost", (row) => row.cost.map((line) => el("div", {}, line))],
  ["On which questions", (row) => [
    `${several(row.gained, "question")} gained and ${number(row.lost)} lost, of ${number(row.n)}: `,
    el("a", { href: link("compare", { a: `c${row.a.cell}`, b: `c${row.b.cell}` }), "aria-label": `which questions: ${row.where}` }, "which?")]],
  ["The paper", (row) => row.paper],
];

function answerPart(answer, place) {
  const id = `answer-${place}`;
  const few = answer.rows.length <= 6;
  return el("section", { "aria-labelledby": id },
    el("h3", { id }, answer.question),
    el("p", { class: "muted" }, `${answer.title}. `, el("a", { href: link("curves", { chart: answer.chart }) }, "See the curve")),
    few ? el("ul", { class: "cards" }, answer.rows.map((row) => el("li", { class: "card" },
      el("h4", {}, row.finding && [badge(row.finding.word), " "], row.where),
      definitions(ASKED.map(([name, content]) => [name, content(row)])))))
      : simpleTable(`${answer.title}, along ${answer.axis}`, [["On", (row) => [row.finding && [badge(row.finding.word), " "], row.where]], ...ASKED], answer.rows),
    el("p", { class: "muted small" }, "Gained: more of the seeds have the question right than before; lost: fewer. Costs are means of one run."));
}

const end = (point) => `${percent(point.accuracy)} ${range(point.low, point.high)} (${point.x})`;

function howSure(finding) {
  return [el("b", {}, pWords(finding.p)), `; ${corrected(finding)}. 95 % interval ${range(finding.low, finding.high)} points. `,
    el("details", {}, el("summary", {}, "How this was tested"), el("p", {}, finding.test), finding.detail && el("p", {}, finding.detail))];
}

function comparisonsPart() {
  if (!data.comparisons.length) return null;
  const table = (caption, rows) => simpleTable(caption, [
    ["First (A)", (row) => data.cells[row.a].label],
    ["Second (B)", (row) => data.cells[row.b].label],
    ["Task", (row) => data.cells[row.a].task],
    ["B − A (points)", (row) => `${points(row.difference)} ${range(row.low, row.high)}`, "num"],
    ["Only A right", (row) => number(row.only_a), "num"],
    ["Only B right", (row) => number(row.only_b), "num"],
    ["p", (row) => pValue(row.p), "num"],
    ["p, Holm", (row) => pValue(row.p_holm), "num"],
    ["Questions", (row) => el("a", { href: link("compare", { a: `c${row.a}`, b: `c${row.b}` }),
      "aria-label": `Questions that flipped between ${data.cells[row.a].label} and ${data.cells[row.b].label}` }, "which?")],
  ], rows);
  const [first, rest] = [data.comparisons.slice(0, 8), data.comparisons.slice(8)];
  return el("section", { "aria-labelledby": "comparisons" },
    el("h3", { id: "comparisons" }, "Settings side by side"),
    table("The same test questions, two settings", first),
    rest.length > 0 && el("details", {}, el("summary", {}, `${several(rest.length, "more pair")}`), table("More pairs of settings", rest)),
    el("p", { class: "muted small" }, `Tests: ${listed([...new Set(data.comparisons.map((row) => row.test.split(/ \(|[:;]| over /)[0]))])}; what each counts as chance stands under Compare. “Only A right” counts pairs of a question and a seed.`));
}

const LISTED_SETTINGS = 40;

function paperPart() {
  const judged = data.cells.filter((cell) => cell.verdict);
  const fresh = data.cells.filter((cell) => cell.new).length;
  const all = data.cells.length <= LISTED_SETTINGS;
  const counts = ["match", "above", "below", "can't tell"].map((word) => [word, judged.filter((cell) => cell.verdict.word === word).length]);
  const none = fresh ? "The paper has these tasks, but no such cells." : "The paper has no such tasks or students: what can be set beside it is the direction of its findings, above.";
  return el("section", { "aria-labelledby": "paper" },
    el("h3", { id: "paper" }, "Settings beside the paper"),
    el("p", {}, judged.length ? counts.filter(([, n]) => n).map(([word, n]) => [badge(word), ` ${number(n)}  `]) : none,
      fresh > 0 && judged.length > 0 && [badge("new"), ` ${number(fresh)}: the paper has no such cell`]),
    (all || judged.length > 0) && simpleTable(all ? "All settings" : "Settings with a published value", [
      ["Setting", (cell) => cell.label],
      ["Task", (cell) => cell.task],
      ["Here", (cell) => [el("b", {}, percent(cell.last.accuracy)), ` ${range(cell.last.low, cell.last.high)}`], "num"],
      ["Seeds", (cell) => cell.last.seeds, "num"],
      data.cells.some((cell) => cell.best) && ["Best epoch on test", (cell) => percent(cell.best?.accuracy), "num"],
      judged.length > 0 && ["Published", (cell) => percent(cell.verdict?.accuracy, 2), "num"],
      judged.length + fresh > 0 && ["Verdict", (cell) => (cell.verdict ? badge(cell.verdict.word) : cell.new ? badge("new") : "–")],
      judged.length > 0 && ["Why", (cell) => (cell.verdict ? [cell.verdict.why, el("div", { class: "muted small" }, `${cell.verdict.figure} (${cell.verdict.protocol})`)] : "–")],
    ].filter(Boolean), all ? data.cells : judged));
}

function skippedPart() {
  if (!data.skipped.length) return null;
  const table = simpleTable("What this report leaves out, and why", [
    ["Path", (row) => words(row.path)], ["Reason", (row) => words(row.reason)]], data.skipped);
  const reasons = grouped(data.skipped, (row) => row.reason.split(/ \(|[:;]/)[0]);
  return el("section", { "aria-labelledby": "skipped" },
    el("h3", { id: "skipped" }, `Left out: ${several(data.skipped.length, "folder or file", "folders or files")}`),
    el("p", {}, [...reasons].map(([reason, rows]) => `${number(rows.length)} ${reason}`).join(", ")),
    data.skipped.length > 6 ? el("details", {}, el("summary", {}, "Which, and why"), table) : table);
}
