// What differs between two texts, word by word.

const LARGEST = 4e6; // cells of the table; above it nothing is marked

// The words of a text, each with the white space before it.
const split = (text) => text.match(/\s*\S+|\s+$/g) ?? [];

// Pieces [kind, text]: "same", "gone" (only in a) and "new" (only in b); null where the texts are too long for it.
function differences(a, b) {
  let [x, y] = [split(a), split(b)];
  const same = (p, q) => p.trim() === q.trim();
  let head = 0;
  while (head < x.length && head < y.length && same(x[head], y[head])) head++;
  let tail = 0;
  while (tail < Math.min(x.length, y.length) - head && same(x.at(-1 - tail), y.at(-1 - tail))) tail++;
  const end = y.slice(y.length - tail);
  const pieces = y.slice(0, head).map((word) => ["same", word]);
  x = x.slice(head, x.length - tail);
  y = y.slice(head, y.length - tail);
  if (x.length * y.length > LARGEST) return null;
  const width = y.length + 1;
  const table = new Uint16Array((x.length + 1) * width);
  for (let i = x.length - 1; i >= 0; i--) {
    for (let j = y.length - 1; j >= 0; j--) {
      table[i * width + j] = same(x[i], y[j])
        ? table[(i + 1) * width + j + 1] + 1
        : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
    }
  }
  let i = 0, j = 0;
  while (i < x.length || j < y.length) {
    if (i < x.length && j < y.length && same(x[i], y[j])) {
      pieces.push(["same", y[j]]);
      i++;
      j++;
    } else if (i < x.length && (j === y.length || table[(i + 1) * width + j] >= table[i * width + j + 1])) {
      pieces.push(["gone", x[i++]]);
    } else pieces.push(["new", y[j++]]);
  }
  for (const word of end) pieces.push(["same", word]);
  const joined = [];
  for (const [kind, word] of pieces) {
    if (joined.length && joined.at(-1)[0] === kind) joined.at(-1)[1] += word;
    else joined.push([kind, word]);
  }
  return joined;
}

// The text `b` with its differences from `a` marked; null where there is nothing to mark or too much.
function marked(a, b) {
  if (a === null || a === b || b.length > SHOWN || a.length > 4 * SHOWN) return null;
  const pieces = differences(a, b);
  const tags = { gone: "del", new: "ins" };
  return pieces?.map(([kind, text]) => (tags[kind] ? el(tags[kind], {}, visible(text)) : visible(text))) ?? null;
}
