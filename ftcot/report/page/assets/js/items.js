// Questions: which ones, and what was said to one. Test questions have students' texts, training questions the teacher's.

const LISTED = 80; // questions in the list before somebody asks for more

async function items(section, at) {
  const place = Math.min(Math.max(Number(at.book ?? 0) || 0, 0), books.length - 1);
  if (place < 0) {
    add(section, [el("h2", { tabindex: "-1" }, "Questions"), el("p", {}, "These runs left no predictions.")]);
    return;
  }
  const [book, about] = [books[place], data.books[place]];
  const list = el("ol", { class: "plain questions", id: "questions" });
  const shown = el("p", { role: "status", class: "muted" });
  const more = el("button", { type: "button", class: "quiet" });
  const item = el("article", { class: "item", id: "item", "aria-label": "The question" });
  const tools = el("form", { class: "tools", onsubmit: (event) => event.preventDefault() });
  add(section, [
    el("h2", { tabindex: "-1" }, "Questions"),
    tools,
    el("div", { class: "browser" },
      el("div", { class: "side" }, shown, el("div", { class: "list", tabindex: "0", role: "region", "aria-label": "Questions that fit" }, list, more)),
      item),
  ]);
  await book.open();
  const reader = about.kind === "test" ? studentReader(book, about, place) : teacherReader(book, about, place);
  const state = { book: place, find: at.find ?? "", show: at.show ?? "", sort: at.sort ?? "", who: at.who ?? "", a: at.a ?? "", b: at.b ?? "",
    q: at.q === undefined ? null : Number(at.q) };
  if (!(state.q >= 0 && state.q < book.n)) state.q = null;
  let fitting = [], ready = null;

  const again = (next) => { location.hash = link("items", { ...state, ...next }); };
  const find = el("input", { type: "search", id: "find-questions", value: state.find, autocomplete: "off", spellcheck: "false",
    oninput: (event) => { state.find = event.target.value; refresh(); } });
  add(tools, [
    data.books.length > 1 && select("Questions", data.books.map((other, k) => [String(k), other.label]), String(place),
      (value) => { location.hash = link("items", { book: value }); }),
    el("div", { class: "field" }, el("label", { for: "find-questions" }, "Search"), find),
    select("Show", reader.filters, state.show, (value) => { state.show = value; refresh(); }),
    reader.who && select(reader.who[0], reader.who[1], state.who, (value) => { state.who = value; refresh(); }),
    select("Sort by", reader.sorts, state.sort, (value) => { state.sort = value; refresh(); }),
  ]);

  function refresh(keep = false) {
    ready = reader.ready(state);
    const wanted = state.find.toLowerCase().split(/\s+/).filter(Boolean);
    const lowered = (book.lowered ??= book.questions.map((q) => `#${q.index} ${q.text} ${q.gold}`.toLowerCase()));
    fitting = [];
    for (let q = 0; q < book.n; q++) {
      if (wanted.every((word) => lowered[q].includes(word)) && ready.fits(q)) fitting.push(q);
    }
    if (ready.order) fitting.sort(ready.order);
    list.replaceChildren();
    let length = 0;
    const lengthen = (to) => {
      add(list, [fitting.slice(length, to).map((q) => {
        const question = book.questions[q];
        return el("li", {}, el("a", { href: link("items", { ...state, q }), "data-q": q, "aria-current": q === state.q ? "true" : null },
          el("span", { class: "hash" }, `#${question.index}`), ready.note(q), words(snippet(question, 90))));
      })]);
      length = Math.min(to, fitting.length);
      more.hidden = length >= fitting.length;
      more.textContent = `Show more (${number(fitting.length - length)} left)`;
    };
    lengthen(Math.max(LISTED, fitting.indexOf(state.q) + 20));
    more.onclick = () => lengthen(length + LISTED);
    shown.textContent = `${number(fitting.length)} of ${several(book.n, "question")}${about.sampled ? ` (${about.sampled})` : ""}`;
    if (!keep) {
      if (fitting.length && !fitting.includes(state.q)) state.q = fitting[0];
      if (placeNow().tab === "items") remember("items", state);
      open();
    }
  }

  function step(by) {
    const next = fitting[fitting.indexOf(state.q) + by];
    if (next !== undefined) turn(next);
  }

  function turn(q) {
    state.q = q;
    remember("items", state);
    for (const row of list.querySelectorAll("[aria-current]")) row.removeAttribute("aria-current");
    const row = list.querySelector(`[data-q="${q}"]`);
    row?.setAttribute("aria-current", "true");
    row?.scrollIntoView({ block: "nearest" });
    open();
  }

  list.addEventListener("click", (event) => {
    const row = event.target.closest("a[data-q]");
    if (!row || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    turn(Number(row.dataset.q));
    if (window.innerWidth < 800) item.scrollIntoView();
  });
  section.step = step; // the arrow keys (main.js)

  async function open() {
    if (state.q === null) {
      fill(item, el("p", { class: "muted" }, "No question fits. Clear the search or choose another filter."));
      return;
    }
    const q = state.q, question = book.questions[q], where = fitting.indexOf(q);
    const heard = await book.said(q);
    if (q !== state.q) return; // the reader has gone on meanwhile
    fill(item,
      el("div", { class: "turn" },
        el("button", { type: "button", id: "previous", disabled: where <= 0, onclick: () => step(-1) }, "← Previous"),
        el("h3", { id: "which" }, `Question #${question.index}`, el("span", { class: "muted" }, where < 0 ? "" : ` · ${number(where + 1)} of ${number(fitting.length)}`)),
        el("button", { type: "button", id: "next", disabled: where < 0 || where >= fitting.length - 1, onclick: () => step(1) }, "Next →")),
      question.text ? said(question.text) : el("p", { class: "muted" }, about.missing ?? "The question’s text is not at hand."),
      el("p", {}, "Right answer: ", el("b", {}, words(question.gold))),
      ready.summary?.(q),
      reader.body(q, heard, state, again));
    section.dataset.open = String(question.index);
  }
  refresh();
}
