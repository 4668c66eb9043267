// While a sweep runs (--watch) the page is written again and again, and loads itself again to show it. Where the reader
// is stays: section, question and filters are in the address, the place on the page is kept here.

function live() {
  const bar = document.getElementById("live");
  const all = data.states.reduce((sum, states) => sum + Object.values(states).reduce((x, y) => x + y, 0), 0);
  const done = data.states.reduce((sum, states) => sum + (states.complete ?? 0) + (states.partial ?? 0), 0);
  if (!data.refresh) return;
  let paused = false, busy = 0;
  const button = el("button", { type: "button", class: "quiet", onclick: () => {
    paused = !paused;
    button.textContent = paused ? "Go on reloading" : "Pause reloading";
  } }, "Pause reloading");
  fill(bar, el("span", {}, `The sweep is running: ${number(done)} of ${several(all, "job")} done. This page loads itself again every ${number(data.refresh)} s. `), button);
  bar.hidden = false;
  for (const name of ["keydown", "pointerdown", "wheel", "touchstart"]) addEventListener(name, () => { busy = Date.now(); }, { passive: true });
  const kept = JSON.parse(sessionStorage.getItem("ftcot-place") ?? "null");
  if (kept && kept.hash === location.hash) setTimeout(() => scrollTo(0, kept.top), 150);
  setInterval(() => {
    // Not under the reader's hands, and not in a tab that nobody sees.
    const typing = document.activeElement?.matches("input, select, textarea") || String(getSelection());
    if (paused || document.hidden || typing || Date.now() - busy < 5000) return;
    sessionStorage.setItem("ftcot-place", JSON.stringify({ hash: location.hash, top: scrollY }));
    location.reload();
  }, 1000 * data.refresh);
}
live();
