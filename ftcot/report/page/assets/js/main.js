// The sections, the address, the theme, the keys.

const ALL_SECTIONS = [
  ["overview", "Overview", overview],
  ["curves", "Curves", curves],
  ["runs", "Runs", runs],
  ["compare", "Compare", compare],
  ["items", "Questions", items],
  ["card", "Data card", card],
  ["cost", "Cost", cost],
  ["made", "How it was made", made],
  ["run", null, run],
];
// Of folders with pairs and no score there is nothing else to show.
const SECTIONS = data.runs.length ? ALL_SECTIONS : ALL_SECTIONS.filter(([name]) => ["card", "made"].includes(name));
const PRINTED = ["overview", "curves", "runs", "card", "cost", "made"].filter((name) => SECTIONS.some(([other]) => other === name));
const KEEP = ["overview", "curves", "runs", "card", "cost", "made"]; // built once; the others depend on the address

const sections = {};
const main = document.getElementById("main");
for (const [name] of SECTIONS) {
  sections[name] = el("section", { id: `in-${name}`, class: PRINTED.includes(name) ? "part printed" : "part", hidden: true });
  main.append(sections[name]);
}
fill(document.getElementById("tabs"), SECTIONS.filter(([, label]) => label).map(([name, label]) =>
  el("li", {}, el("a", { href: `#${name}`, id: `tab-${name}` }, label))));

const built = new Map();

function build(name, at) {
  if (!KEEP.includes(name)) fill(sections[name]);
  else if (built.has(name)) return built.get(name);
  const [, , make] = SECTIONS.find(([other]) => other === name);
  const done = Promise.resolve().then(() => make(sections[name], at)).then(() => { sections[name].dataset.ready = "true"; }).catch(failed);
  built.set(name, done);
  return done;
}

function failed(error) {
  const problem = document.getElementById("problem");
  problem.hidden = false;
  problem.textContent = `Something in this page failed: ${error.message}. ${typeof DecompressionStream === "undefined"
    ? "This browser cannot unpack texts (DecompressionStream); one from 2023 or later can." : ""}`;
  throw error;
}

let current = null;

async function arrive() {
  const { tab, at } = placeNow();
  const name = sections[tab] ? tab : SECTIONS[0][0];
  const moved = current !== null && (current !== name || !KEEP.includes(name));
  for (const [other, section] of Object.entries(sections)) section.hidden = other !== name;
  for (const [other, label] of SECTIONS) {
    if (!label) continue;
    const mine = other === name || (name === "run" && other === "runs");
    const tab = document.getElementById(`tab-${other}`);
    if (mine) {
      tab.setAttribute("aria-current", "page");
      tab.closest("ul").scrollLeft = tab.offsetLeft - 40; // on a narrow screen it may be out of sight
    } else tab.removeAttribute("aria-current");
  }
  document.title = `${SECTIONS.find(([other]) => other === name)[1] ?? "Run"} · ${data.title}`;
  const sameTab = current === name;
  current = name;
  delete sections[name].dataset.ready;
  await build(name, at);
  sections[name].dataset.ready = "true";
  if (name === "curves") arriveAtChart(at);
  else if (moved && !sameTab) {
    scrollTo(0, 0);
    sections[name].querySelector("h2")?.focus({ preventScroll: true });
  }
}

addEventListener("hashchange", arrive);

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which section is open
  main.focus();
  main.scrollIntoView();
});

addEventListener("keydown", (event) => {
  if (current !== "items" || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by || event.target.closest("input, select, textarea, .frame")) return;
  event.preventDefault();
  sections.items.step?.(by);
});

// Theme: the system's, until the reader chooses. What a file may remember is up to the browser.
const stored = {
  get(key) { try { return localStorage.getItem(key); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(key, value); } catch { /* for this visit only */ } },
};

function theme(choice) {
  const dark = choice === "dark" || (choice !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  const button = document.getElementById("theme");
  button.textContent = dark ? "Light colours" : "Dark colours";
  button.onclick = () => {
    const next = dark ? "light" : "dark";
    stored.set("ftcot-theme", next);
    theme(next);
  };
}
theme(stored.get("ftcot-theme"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(stored.get("ftcot-theme")));

arrive().then(async () => {
  // What print shows is made ready while nobody waits for it; texts only when they are asked for.
  const idle = globalThis.requestIdleCallback ?? ((act) => setTimeout(act, 50));
  await whole;
  for (const name of PRINTED) await new Promise((resolve) => idle(() => resolve(build(name, {}))));
  document.documentElement.dataset.complete = "true";
});
