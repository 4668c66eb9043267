// What runs and cells are called.

const data = JSON.parse(document.getElementById("report").textContent);
const books = data.books.map((about) => new Book(about.name, about));

const testBook = (group) => data.books.findIndex((book) => book.group === group && book.kind === "test");
const runLabel = (run) => `${run.label} · seed ${run.facts.seed}`;
const kindLabel = (code) => (code ? data.kinds[code - 1].label : "not looked at");

// A choice of runs in an address: r12 is a run, c3 a cell.
function chosen(key) {
  if (!key || !/^[rc]\d+$/.test(key)) return null;
  const place = Number(key.slice(1));
  if (key[0] === "r") {
    const run = data.runs[place];
    return run && { key, name: runLabel(run), runs: [run], group: run.group, task: run.facts.task };
  }
  const cell = data.cells[place];
  if (!cell) return null;
  const runs = cell.runs.map((r) => data.runs[r]);
  return { key, name: cell.label, runs, group: runs[0].group, task: cell.facts.task };
}

// Options for all cells and runs of a group of runs that were asked the same questions.
function choices(group) {
  const cells = data.cells.map((cell, c) => [cell, c]).filter(([cell]) => data.runs[cell.runs[0]].group === group);
  const runs = data.runs.map((run, r) => [run, r]).filter(([run]) => run.group === group);
  return [
    ["", "All seeds of a setting", cells.map(([cell, c]) => [`c${c}`, `${cell.label} (${several(cell.runs.length, "seed")})`])],
    ["", "One run", runs.map(([run, r]) => [`r${r}`, runLabel(run)])],
  ];
}

const RIGHT = 1 << 4;
const PRESENT = 1 << 15;

// Whether a run has a question right after its last epoch: true, false, or null where it was not asked.
function isRight(book, run, question) {
  const marks = book.marks(run.last_column, question);
  return marks & PRESENT ? Boolean(marks & RIGHT) : null;
}

const kindOf = (book, column, question) => book.marks(column, question) & 15;
