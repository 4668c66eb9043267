// Training questions: what the teacher said, and what the students were shown of it.

// The teacher: every rationale of a question, whether it is right, and why it was not kept.
function teacherReader(book, about, place) {
  const lessonOf = (state) => about.lessons[Number(state.who)] ?? about.lessons[0];
  const kept = (lesson, q) => {
    let [n, yes] = [0, 0];
    for (let column = lesson.first; column < lesson.first + lesson.width; column++) {
      const marks = book.marks(column, q);
      if (!(marks & PRESENT)) continue;
      n++;
      if (!(marks & 255)) yes++;
    }
    return [yes, n];
  };
  return {
    filters: [["", "all questions"], ["none", "nothing kept"], ["some", "some kept"], ["all", "all kept"],
      ...about.reasons.slice(1).map((reason, k) => [`reason${k + 1}`, `dropped: ${reason}`])],
    sorts: [["", "number"], ["hard", "fewest kept first"], ["easy", "most kept first"]],
    who: ["Teaching", about.lessons.map((lesson, k) => [String(k), lesson.label])],
    ready(state) {
      const lesson = lessonOf(state);
      const asked = (q) => kept(lesson, q)[1] > 0;
      const reason = state.show.startsWith("reason") ? Number(state.show.slice(6)) : 0;
      const tests = {
        "": asked,
        none: (q) => asked(q) && kept(lesson, q)[0] === 0,
        all: (q) => asked(q) && kept(lesson, q)[0] === kept(lesson, q)[1],
        some: (q) => kept(lesson, q)[0] > 0 && kept(lesson, q)[0] < kept(lesson, q)[1],
      };
      const because = (q) => {
        for (let column = lesson.first; column < lesson.first + lesson.width; column++) {
          if ((book.marks(column, q) & PRESENT) && (book.marks(column, q) & 255) === reason) return true;
        }
        return false;
      };
      const part = (q) => kept(lesson, q)[0] / (kept(lesson, q)[1] || 1);
      return {
        fits: reason ? because : (tests[state.show] ?? asked),
        order: { hard: (x, y) => part(x) - part(y) || x - y, easy: (x, y) => part(y) - part(x) || x - y }[state.sort],
        note: (q) => el("span", { class: "share" }, bar(part(q)), ` ${kept(lesson, q)[0]}/${kept(lesson, q)[1]}`),
        summary: (q) => el("p", {}, `Kept ${kept(lesson, q)[0]} of ${several(kept(lesson, q)[1], "rationale")}; taught to ${listed(lesson.runs.slice(0, 6).map((r) => runLabel(data.runs[r])))}`
          + (lesson.runs.length > 6 ? ` and ${lesson.runs.length - 6} more runs.` : ".")),
      };
    },
    body(q, heard, state) {
      const lesson = lessonOf(state);
      const rows = [];
      for (let column = lesson.first; column < lesson.first + lesson.width; column++) {
        const entry = heard[column], marks = book.marks(column, q);
        if (!entry) continue;
        const reason = about.reasons[marks & 255];
        const judged = marks & (1 << 9), right = marks & (1 << 8);
        rows.push(el("div", { class: "card" },
          el("p", { class: "small" }, el("b", {}, `Rationale ${rows.length + 1}: `),
            judged ? el("span", { class: `badge ${right ? "good" : "bad"}` }, el("span", { "aria-hidden": "true" }, right ? "✓ " : "✗ "), right ? "right" : "wrong") : "not judged",
            entry.answer !== null ? [" read as ", el("b", {}, words(entry.answer))] : "",
            reason ? ` · not kept: ${reason}` : " · kept, the student saw it"),
          said(entry.text)));
      }
      return [el("h4", {}, `What the teacher said (${lesson.label})`), rows];
    },
  };
}
