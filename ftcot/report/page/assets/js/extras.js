// The sections that are tables of what Python counted: data card, cost, how it was made. Each is unpacked when it is shown.

const spoken = (key) => { const text = String(key).replaceAll("_", " "); return text.charAt(0).toUpperCase() + text.slice(1); };

async function card(section) {
  const cards = await inflatedJson("cards");
  add(section, [el("h2", { tabindex: "-1" }, "Data card"),
    data.runs.length === 0 && [el("ul", { class: "muted" }, data.notes.map((note) => el("li", {}, words(note)))), skippedPart()],
    studyPart(), cards.map(cardPart)]);
}

function cardPart(one) {
  return el("section", { class: "card wide" },
    el("h3", {}, one.title),
    one.missing && el("p", { class: "muted" }, `The questions are not at hand: ${one.missing}`),
    definitions([
      ["Training questions", number(one.train)],
      ["Validation questions", one.validation ? number(one.validation) : null],
      ["Test questions", number(one.test) + (one.templates && one.templates < one.test ? `, of ${number(one.templates)} templates` : "")],
      ["Said twice", one.duplicates && `${number(one.duplicates.train)} in training, ${number(one.duplicates.test)} in test, ${number(one.duplicates.all)} in both together`],
      ["A guess", percent(one.random_accuracy)],
    ]),
    leaksPart(one),
    one.lessons.length > 0 && [el("h4", {}, "What the students were taught from"), lessonsTable(one), one.lessons.map(lengthsPart)],
    examplesPart(one.study.kinds));
}

function leaksPart(one) {
  if (!one.leaks.length) return null;
  return [el("h4", {}, "Test questions that are in the training set too"),
    simpleTable("Leak audit", [
      ["How alike", (leak) => leak.label],
      ["Test questions", (leak) => `${number(leak.n)} of ${number(leak.of)}`, "num"],
      ["Share", (leak) => percent(leak.n / leak.of), "num"],
      ["For instance", (leak) => (leak.examples.length ? el("details", {}, el("summary", {}, "test and training question"),
        leak.examples.map(([test, train]) => [said(test.question), said(train.question)])) : "–")],
    ], one.leaks)];
}

function lessonsTable(one) {
  return simpleTable("Completions of a teacher, and what was kept of them", [
    ["Teacher", (lesson) => [words(lesson.label), lesson.notes.map((note) => el("div", { class: "muted small" }, words(note)))]],
    ["Kept", (lesson) => `${number(lesson.kept)} of ${number(lesson.completions)}`, "num"],
    ["Dropped", (lesson) => Object.entries(lesson.dropped).map(([reason, n]) => `${number(n)} ${reason}`).join(", ") || "none"],
    ["In the authors’ file", (lesson) => (lesson.published_pairs === null ? "–" : number(lesson.published_pairs)), "num"],
    ["Questions without a pair", (lesson) => `${number(lesson.questions_without)} of ${number(lesson.questions)}`, "num"],
    ["Different a question", (lesson) => lesson.effective_degree?.toFixed(2) ?? "–", "num"],
    ["Words each", (lesson) => lesson.lengths.mean.toFixed(0), "num"],
    ["Cut off", (lesson) => (lesson.cut === null ? "–" : number(lesson.cut)), "num"],
    ["Teacher right", (lesson) => (lesson.correct_only ? "only right ones recorded" : percent(lesson.teacher_accuracy, 2)), "num"],
    ["Published", (lesson) => (lesson.teacher_published ? [percent(lesson.teacher_published.accuracy, 2), el("div", { class: "muted small" }, lesson.teacher_why)] : "–")],
    ["Taught to", (lesson) => several(lesson.runs, "run"), "num"],
  ], one.lessons);
}

// How long rationales are: a row a bin, as a bar and as a number.
function lengthsPart(lesson) {
  const most = Math.max(...lesson.lengths.bins.map(([, , n]) => n), 1);
  return el("details", {}, el("summary", {}, `How long the rationales are: ${lesson.label}`),
    simpleTable("Words of a rationale", [
      ["Words", ([from, below]) => `${from} to ${below - 1}`], ["Rationales", ([, , n]) => number(n), "num"], ["Share", ([, , n]) => bar(n / most)],
    ], lesson.lengths.bins));
}

function examplesPart(kinds) {
  const found = kinds.filter((kind) => kind.examples.length);
  return found.length > 0 && [el("h4", {}, "Examples of each kind of answer"),
    found.map((kind) => el("details", {}, el("summary", {}, `${spoken(kind.name)}: ${several(kind.n, "answer")}`),
      el("p", { class: "muted" }, kind.sentence),
      kind.examples.map((one) => el("div", { class: "card" },
        el("p", { class: "small" }, words(one.who), `, seed ${one.seed}, question #${one.sample_index}; right is `, el("b", {}, words(one.answer)),
          one.prediction === null ? ", nothing was read" : [", read as ", el("b", {}, words(one.prediction))]),
        one.question && said(one.question), said(one.text)))))];
}

// What the answers of each setting are like: one bar a setting, one colour and pattern a kind.
function studyPart() {
  const used = data.kinds.map((kind, k) => [kind, k]).filter(([, k]) => data.cells.some((cell) => cell.study[k] > 0));
  if (!used.length) return null;
  return el("section", { class: "card wide", "aria-labelledby": "study" },
    el("h3", { id: "study" }, "What goes wrong, and how varied the rationales were"),
    el("p", { class: "muted" }, "Each prediction after the last epoch is of one kind. Beside it: what the student was trained on; different rationales, ways to the answer (sets of equations) and phrases a question. Means over seeds."),
    simpleTable("Share of each kind, by setting", [
      ["Setting", (cell) => [cell.label, data.groups.length > 1 && el("span", { class: "muted" }, ` · ${cell.task}`)]],
      ["Pairs", (cell) => shortNumber(Math.round(cell.pairs)), "num"],
      ...Object.entries(data.measures).filter(([name]) => data.cells.some((cell) => name in cell.diversity))
        .map(([name, words]) => [`${spoken(words)} a question`, (cell) => cell.diversity[name]?.toFixed(1) ?? "–", "num"]),
      ...used.map(([kind, k]) => [kind.label, (cell) => [percent(cell.study[k] ?? 0), " ", bar(cell.study[k] ?? 0)], "num"]),
    ], data.cells),
    el("dl", {}, used.map(([kind]) => [el("dt", {}, kind.label), el("dd", {}, kind.sentence)])));
}

async function cost(section) {
  const all = await inflatedJson("cost");
  const total = all.total;
  const tokens = (value) => shortNumber(value === null ? null : Math.round(value));
  add(section, [el("h2", { tabindex: "-1" }, "Cost"),
    el("p", { class: "muted" }, "Device time stands for energy, which nothing measures. “–” is what nobody wrote down. Completions are bought once and used by every run that asks for the same."),
    el("h3", {}, `All ${several(total.runs, "run")}`),
    definitions([
      ["Device time", total.device_seconds === null ? "–" : duration(total.device_seconds)
        + (total.unknown_device_seconds ? `, and ${several(total.unknown_device_seconds, "run")} that did not write it down` : "")],
      ["Machines", Object.entries(total.machines).map(([name, seconds]) => `${name}: ${duration(seconds)}`).join(", ")],
      ["Stages, wall time", Object.entries(total.seconds).map(([name, seconds]) => `${name} ${duration(seconds)}`).join(", ")],
      ["Tokens", `trained on ${tokens(total.supervised_tokens)}, generated ${tokens(total.generated_tokens)}, the teacher’s ${tokens(total.teacher_tokens)}`],
      ["Paid to teachers", total.spent_usd === null ? "not known" : money(total.spent_usd)],
      ["Completions", `${number(total.used)} used by these runs, ${number(total.bought)} of them bought by them`],
      ["Paid to judges", total.judge_usd === null ? null : money(total.judge_usd)],
      ["Not counted", all.left_out ? `${several(all.left_out, "folder")} that the report leaves out` : null],
    ]),
    all.steps.length > 0 && simpleTable("What more of it brings, and costs", [
      ["On", (step) => [step.where || step.figure, el("div", { class: "muted small" }, `${spoken(step.axis)} ${step.a} → ${step.b}`)]],
      ["Points gained", (step) => [points(step.points / 100), step.sure === false && el("div", { class: "muted small" }, "not sure")], "num"],
      ["More device time", (step) => (step.device_seconds === null ? "–" : `${step.device_seconds < 0 ? "−" : "+"}${duration(Math.abs(step.device_seconds))}`), "num"],
      ["Times", (step) => step.times?.toFixed(1) ?? "–", "num"],
      ["Device time a point", (step) => duration(step.seconds_a_point), "num"],
      ["More money", (step) => (step.usd === null ? "–" : money(step.usd)), "num"],
      ["Money a point", (step) => (step.usd_a_point === null ? "–" : money(step.usd_a_point)), "num"],
    ], all.steps),
    simpleTable("What a run of each setting cost, means over its seeds", [
      ["Setting", (row) => row[1].label],
      ["Task", (row) => data.cells[row[0]].task],
      ["Runs", (row) => number(row[1].runs), "num"],
      ["Accuracy", (row) => percent(row[1].accuracy), "num"],
      ["Training pairs", (row) => tokens(row[1].pairs), "num"],
      ["Tokens trained on", (row) => tokens(row[1].supervised_tokens), "num"],
      ["Tokens generated", (row) => tokens(row[1].generated_tokens), "num"],
      ["Teacher’s tokens", (row) => tokens(row[1].teacher_tokens), "num"],
      ["Device time", (row) => duration(row[1].device_seconds), "num"],
      ["Money", (row) => (row[1].usd === null ? "–" : money(row[1].usd)), "num"],
    ], [...all.cells.entries()])]);
}

async function made(section) {
  const how = await inflatedJson("made");
  const date = (seconds) => (seconds === null ? "–" : new Date(1000 * seconds).toISOString().slice(0, 16).replace("T", " "));
  const command = (text, label) => el("pre", { class: "frame", tabindex: "0", role: "region", "aria-label": label }, visible(text));
  const counts = (all) => Object.entries(all).map(([name, n]) => `${name} (${several(n, "run")})`).join("; ");
  add(section, [el("h2", { tabindex: "-1" }, "How it was made"),
    el("h3", {}, "This report again"),
    command(how.command, "Command of this report"),
    how.sweeps.map((sweep) => el("section", {},
      el("h3", {}, "Sweep ", words(sweep.folder)),
      el("p", {}, "The same sweep, wherever:"), command(sweep.command, `Command of ${sweep.folder}`),
      el("p", {}, "What is missing of this one:"), command(sweep.resume, `Command that goes on with ${sweep.folder}`),
      el("p", { class: "muted" }, `Jobs: ${Object.entries(sweep.states).map(([state, n]) => `${number(n)} ${state}`).join(", ") || "none"}`))),
    el("h3", {}, "Protocols, machines, data"),
    definitions([
      ["Protocols", counts(how.protocols)],
      ["Scorers", how.scorers.join(", ")],
      ["Seeds", how.seeds.join(", ")],
      ["Machines", counts(how.machines)],
      ["Results of version", data.runs.length ? String(how.result_version) : null],
      ["Report by", `ftcot ${how.report_version}`],
      ...Object.entries(how.data).map(([name, place]) => [spoken(name), words(place)]),
    ]),
    el("h3", {}, "Versions"),
    how.versions.map(([versions, n]) => el("details", { open: how.versions.length === 1 }, el("summary", {}, several(n, "run")),
      Object.keys(versions).length ? definitions(Object.entries(versions)) : el("p", {}, "The folders do not say."))),
    el("h3", {}, "Runs"),
    el("details", {}, el("summary", {}, `A command for each of ${several(how.runs.length, "run")}`),
      simpleTable("Runs, and how to repeat each", [
        ["Run", (run) => el("span", { class: "hash" }, run.hash.slice(0, 8))],
        ["Began", (run) => date(run.began)], ["Ended", (run) => date(run.ended)],
        ["On", (run) => `${run.computed_on || "–"}, ${several(run.devices, "device")}`],
        ["Folder", (run) => words(run.folder)], ["Command", (run) => el("code", {}, words(run.command))],
      ], how.runs))]);
}
