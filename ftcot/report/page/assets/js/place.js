// Where the reader is: #items?book=1&q=17. A link to it opens the same thing; back and forward work.

function placeNow() {
  const [tab, query] = location.hash.slice(1).split(/\?(.*)/s);
  return { tab, at: Object.fromEntries(new URLSearchParams(query ?? "")) };
}

function link(tab, at = {}) {
  const query = new URLSearchParams(Object.entries(at).filter(([, value]) => value !== null && value !== "" && value !== undefined));
  return `#${tab}${query.size ? `?${query}` : ""}`;
}

// Remembered in the address, without a step of its own in the history.
function remember(tab, at) {
  history.replaceState(history.state, "", link(tab, at));
}
