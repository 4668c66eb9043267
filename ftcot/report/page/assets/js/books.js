// What is packed in this file: inflated when it is asked for (ftcot/report/page/packing.py and books.py pack it).

const whole = new Promise((resolve) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", resolve);
  else resolve();
});

async function inflated(name) {
  let part = document.getElementById(name);
  if (!part?.nextSibling) {
    await whole; // the browser may still be reading the end of the file
    part = document.getElementById(name);
  }
  const letters = atob(part.textContent);
  const bytes = new Uint8Array(letters.length);
  for (let k = 0; k < letters.length; k++) bytes[k] = letters.charCodeAt(k);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

const inflatedText = async (name) => new TextDecoder().decode(await inflated(name));
const inflatedJson = async (name) => JSON.parse(await inflatedText(name));

class Book {
  constructor(name, about) {
    this.name = name;
    this.n = about.n;
    this.columns = about.width;
    this.sizes = about.pages;
    this.pages = new Map();
  }

  // Questions and marks; texts come page by page.
  open() {
    return (this.opened ??= (async () => {
      const [questions, marks] = await Promise.all([
        inflatedJson(`${this.name}-questions`), inflated(`${this.name}-marks`)]);
      this.questions = questions.map(([index, gold, text, cluster]) => ({ index, gold, text, cluster }));
      const half = this.n * this.columns;
      this.low = new Uint8Array(marks, 0, half);
      this.high = new Uint8Array(marks, half, half);
    })());
  }

  marks(column, question) {
    const place = column * this.n + question;
    return this.low[place] | (this.high[place] << 8);
  }

  // What every column has for a question: {text, answer, before} or null.
  async said(question) {
    let page = 0, first = 0;
    while (question >= first + this.sizes[page]) first += this.sizes[page++];
    if (!this.pages.has(page)) {
      this.pages.set(page, this.read(page));
      if (this.pages.size > 6) this.pages.delete(this.pages.keys().next().value);
    }
    return (await this.pages.get(page))[question - first];
  }

  async read(page) {
    this.words ??= inflatedJson(`${this.name}-words`);
    const [words, data] = [await this.words, new Uint8Array(await inflated(`${this.name}-page-${page}`))];
    let at = 0;
    const next = () => {
      const first = data[at++];
      if (first < 192) return first;
      if (first < 255) return 192 + ((first - 192) << 8) + data[at++];
      at += 3;
      return (data[at - 3] << 16) | (data[at - 2] << 8) | data[at - 1];
    };
    return Array.from({ length: this.sizes[page] }, () => {
      const texts = [null];
      for (let left = next(); left > 0; left--) {
        const parts = [];
        for (let word = next(); word; word = next()) parts.push(words[word - 1]);
        texts.push(parts.join(""));
      }
      return Array.from({ length: this.columns }, () => {
        const [text, answer, before] = [texts[next()], texts[next()], texts[next()]];
        return text === null ? null : { text, answer, before };
      });
    });
  }
}
