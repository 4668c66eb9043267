// Elements. Text becomes a text node and nothing else: what a model wrote can be no markup.

const SHOWN = 2500; // characters of a text that are shown before somebody asks for the rest

function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

function fill(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

// Control characters are invisible and some turn a line around: the first are shown as their pictures, the others are
// kept inside the element by its isolation.
function visible(text) {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, (c) =>
    c === "\u007f" ? "\u2421" : String.fromCharCode(0x2400 + c.charCodeAt(0)));
}

// A few words that somebody else wrote, in a line of ours.
function words(text) {
  return el("bdi", {}, visible(String(text)));
}

// A whole text that a model wrote; `parts` are nodes in place of it, where differences are marked.
function said(text, parts = null) {
  const block = el("div", { class: "said", dir: "auto" });
  if (text.length <= SHOWN) return add(block, parts ?? [visible(text)]);
  const cut = /[\ud800-\udbff]$/.test(text.slice(0, SHOWN)) ? SHOWN - 1 : SHOWN;
  const rest = el("button", { type: "button", class: "quiet", onclick: () => {
    block.textContent = visible(text);
    block.tabIndex = -1;
    block.focus();
  } }, `Show all ${number(text.length)} characters`);
  return add(block, [visible(text.slice(0, cut)), "… ", rest]);
}

// A table that can be scrolled sideways by keyboard too.
function framed(table, label) {
  return el("div", { class: "frame", tabindex: "0", role: "region", "aria-label": label }, table);
}

// A plain table: columns are [heading, row => content, class].
function simpleTable(caption, columns, rows, props = {}) {
  return framed(
    el("table", props,
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, columns.map(([name, , kind]) => el("th", { scope: "col", class: kind }, name)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, columns.map(([, content, kind], place) =>
        el(place ? "td" : "th", place ? { class: kind } : { scope: "row", class: kind }, content(row))))))),
    caption);
}

// Something folded away, made when it is first opened.
function unfolding(properties, summary, content) {
  const details = el("details", properties, el("summary", {}, summary));
  const make = () => add(details, [content()]);
  if (properties.open) make();
  else details.addEventListener("toggle", make, { once: true });
  return details;
}

function badge(word) {
  const signs = { holds: "✓", match: "✓", "does not hold": "✗", above: "▲", below: "▼", "can't tell": "?", new: "★" };
  const kinds = { holds: "good", match: "good", "does not hold": "bad", below: "bad", above: "more", new: "more" };
  return el("span", { class: `badge ${kinds[word] ?? "open"}` },
    el("span", { "aria-hidden": "true" }, `${signs[word] ?? ""} `), word);
}

function select(label, options, value, onchange) {
  const id = `choice-${select.count = (select.count ?? 0) + 1}`;
  const box = el("select", { id, onchange: (event) => onchange(event.target.value) });
  for (const [key, text, children] of options) {
    if (children) {
      box.append(el("optgroup", { label: text }, children.map(([k, t]) => el("option", { value: k }, t))));
    } else box.append(el("option", { value: key }, text));
  }
  box.value = value;
  if (box.selectedIndex < 0) box.selectedIndex = 0;
  return el("div", { class: "field" }, el("label", { for: id }, label), box);
}
