// A result that answers back: the photo with its patches, a slider over the steps, and what the model said.
//
// The same file draws the page that `Explanation.to_html` writes and the widget of notebooks. `data` is what
// `interpix.page.page_data` makes. A coalition is a Uint8Array with 1 for each patch that is present.

const SVG = "http://www.w3.org/2000/svg";
const LEAST = 0.005, MOST = 0.995; // what would be rounded to 0 or 1, as in interpix.outputs.readout
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const CHART = { width: 320, height: 170, left: 38, right: 10, top: 12, bottom: 30 };

/** The bytes of base64 text. */
export function decode(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** A coalition as a key: a bit for each patch, the first in the highest bit, as numpy.packbits has them. */
export function keyOf(present) {
  let key = "";
  for (let start = 0; start < present.length; start += 8) {
    let byte = 0;
    for (let bit = 0; bit < 8; bit += 1) byte = byte * 2 + (present[start + bit] ? 1 : 0);
    key += String.fromCharCode(byte);
  }
  return key;
}

/** What the model said to each coalition that was scored, by its key. */
export function readScored(scored, players) {
  const bits = decode(scored.bits), width = Math.ceil(players / 8);
  const view = (text) => new DataView(decode(text).buffer);
  const answers = view(scored.answers), predicted = view(scored.predicted), holds = decode(scored.holds);
  const found = new Map();
  for (let row = 0; row < holds.length; row += 1) {
    const key = String.fromCharCode(...bits.subarray(row * width, (row + 1) * width));
    const said = { answer: answers.getFloat64(8 * row, true), predicted: predicted.getInt32(4 * row, true) };
    found.set(key, { ...said, holds: holds[row] === 1 });
  }
  return found;
}

/** The coalition after so many steps of a search among `players` patches. */
export function afterSteps(result, steps, players) {
  const insertion = result.direction !== "deletion";
  const present = new Uint8Array(players).fill(insertion ? 0 : 1);
  for (const patch of result.removedBefore) present[patch] = 0;
  for (const patch of result.ranking.slice(0, steps)) present[patch] = insertion ? 1 : 0;
  return present;
}

/** An answer in words, as interpix.outputs.describe writes it, on one line. */
export function writeAnswer(output, answer) {
  if (!output.is_probability) return `${output.quantity} ${general(answer, 4)}`;
  if (answer < LEAST) return "p\u00a0<\u00a0.01";
  if (answer > MOST) return answer < 1 ? "p\u00a0>\u00a0.99" : "p\u00a0=\u00a01";
  return `p\u00a0=\u00a0${hundredths(answer)}`;
}

// Of two that are equally near, Python takes the even one.
function hundredths(share) {
  const tie = share * 8, number = tie % 2 === 1 ? 2 * Math.round(share * 50) : Math.round(share.toFixed(2) * 100);
  return `.${String(number).padStart(2, "0")}`;
}

/** A number with so many digits, as Python's format "g" writes it. */
export function general(value, digits) {
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e"), power = Number(exponent);
  if (power >= -4 && power < digits) return String(Number(value.toPrecision(digits)));
  return `${Number(mantissa)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

/** What is said of a coalition; `score` is undefined where the model was not asked. */
export function sentence(data, present, score, live) {
  const count = present.reduce((sum, one) => sum + one, 0), players = present.length;
  const these = `With ${count} of ${players} patches`;
  if (score === undefined) {
    return `${these}: the model was not asked about these.${live ? "" : " A page cannot ask it; interpix's widget can."}`;
  }
  const said = writeAnswer(data.output, score.answer), target = data.target.name;
  if (!data.output.exclusive) {
    const verb = score.holds ? `${data.output.verb}s` : `does not ${data.output.verb}`;
    return `${these} the model ${verb} ${data.output.claim} (${said}).`;
  }
  if (score.holds) return `${these} the answer is '${target}' (${said}).`;
  return `${these} the answer is '${data.names[score.predicted]}', not '${target}' (${said} of '${target}').`;
}

/** The nearest patch in a direction, or the same where there is none. */
export function neighbor(centers, from, [dx, dy]) {
  let best = from, least = Infinity;
  centers.forEach(([x, y], patch) => {
    const along = (x - centers[from][0]) * dx + (y - centers[from][1]) * dy;
    const aside = Math.abs((x - centers[from][0]) * dy) + Math.abs((y - centers[from][1]) * dx);
    if (along > 0 && along + 3 * aside < least) [best, least] = [patch, along + 3 * aside];
  });
  return best;
}

/** Draws `data` into `root`. `ask`, if there is a model, takes a coalition and promises what the model says. */
export function mount(root, data, ask) {
  const scored = readScored(data.scored, data.patches.length);
  root.classList.add("interpix");
  const panels = data.results.map((result, index) => new Panel(data, result, index, scored, ask));
  root.replaceChildren(
    make("p", { class: "ix-hint" }, "Click a patch to take it away or put it back; the slider goes through the steps."),
    make("div", { class: "ix-panels" }, ...panels.map((panel) => panel.root)),
    ...data.notes.map((note) => make("p", { class: "ix-note" }, note)),
  );
  return panels;
}

let mounted = 0;

class Panel {
  constructor(data, result, index, scored, ask) {
    Object.assign(this, { data, result, scored, ask, asked: [], id: `ix${(mounted += 1)}-${index}` });
    this.steps = this.result.ranking.length;
    this.photo = this.drawPhoto();
    this.chart = new Chart(data, result);
    this.root = make("section", { class: `ix-panel ix-${result.direction}`, "aria-labelledby": `${this.id}-title` },
      make("h2", { id: `${this.id}-title` }, result.title), this.photo, this.drawSlider(),
      make("div", { class: "ix-row" }, this.answer = make("p", { class: "ix-answer", "aria-live": "polite" })),
      make("div", { class: "ix-row" }, ...this.drawButtons()), this.chart.root);
    this.goTo(result.start);
  }

  drawPhoto() {
    const [width, height] = this.data.size;
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "ix-photo", role: "group",
      "aria-label": `${this.data.alt} Patches: arrow keys move, Space takes one away or puts it back.` });
    const hatch = draw("pattern", { id: `${this.id}-hatch`, width: 8, height: 8, patternUnits: "userSpaceOnUse",
      patternTransform: `rotate(45) scale(${Math.max(width, height) / 280})` });
    hatch.append(draw("rect", { width: 8, height: 8, class: "ix-cover" }),
      draw("line", { x1: 0, y1: 0, x2: 0, y2: 8, class: "ix-stripe" }));
    const defs = draw("defs");
    defs.append(hatch);
    svg.append(defs, draw("image", { href: this.data.picture, width, height, "aria-hidden": "true" }));
    this.paths = this.data.patches.map((patch, index) => {
      const path = draw("path", { d: patch.path, role: "checkbox", class: "ix-patch", tabindex: index ? -1 : 0 });
      path.addEventListener("click", () => this.toggle(index));
      path.addEventListener("keydown", (event) => this.press(event, index));
      svg.append(path);
      return path;
    });
    // Numbers of the order found; a screen reader has them in the patches' names.
    this.numbers = this.result.ranking.map((patch, step) => {
      const [x, y] = this.data.patches[patch].center, size = Math.max(width, height) / 26;
      const text = draw("text", { x, y, "font-size": size, class: "ix-number", "aria-hidden": "true" });
      text.textContent = step + 1;
      svg.append(text);
      return text;
    });
    return svg;
  }

  drawSlider() {
    const verb = this.result.direction === "deletion" ? "taken away" : "added";
    this.slider = make("input", { type: "range", min: 0, max: this.steps, step: 1, id: `${this.id}-slider` });
    this.slider.addEventListener("input", () => this.goTo(Number(this.slider.value)));
    this.output = make("output", { for: `${this.id}-slider` });
    return make("div", { class: "ix-slider" },
      make("label", { for: `${this.id}-slider` }, `Patches ${verb}, most important first`), this.slider, this.output);
  }

  drawButtons() {
    const back = make("button", { type: "button" }, "Back to the step");
    back.addEventListener("click", () => this.goTo(this.step));
    const peek = make("button", { type: "button", "aria-pressed": "false" }, "See what is absent");
    peek.addEventListener("click", () => {
      peek.setAttribute("aria-pressed", String(this.photo.classList.toggle("ix-peek")));
    });
    this.askButton = make("button", { type: "button", class: "ix-ask", hidden: "" }, "Ask the model");
    this.askButton.addEventListener("click", () => this.askModel());
    this.back = back;
    return [peek, back, this.askButton];
  }

  goTo(step) {
    this.step = step;
    this.present = afterSteps(this.result, step, this.data.patches.length);
    this.slider.value = step;
    this.show();
  }

  toggle(patch) {
    this.present = this.present.slice();
    this.present[patch] = 1 - this.present[patch];
    this.show();
    this.focus(patch);
  }

  press(event, patch) {
    if (event.key === " " || event.key === "Enter") {
      this.toggle(patch);
    } else if (event.key in MOVES) {
      this.focus(neighbor(this.data.patches.map((one) => one.center), patch, MOVES[event.key]));
    } else {
      return;
    }
    event.preventDefault();
  }

  // One patch can be reached by Tab, the others from it by arrow keys: hundreds of stops would be a trap.
  focus(patch) {
    for (const path of this.paths) path.setAttribute("tabindex", -1);
    this.paths[patch].setAttribute("tabindex", 0);
    this.paths[patch].focus();
  }

  async askModel() {
    const present = this.present;
    this.askButton.disabled = true;
    this.answer.textContent = "Asking the model ...";
    try {
      const { name, ...said } = await this.ask(present);
      if (name !== undefined) this.data.names[said.predicted] = name;
      this.scored.set(keyOf(present), said);
      this.asked.push([this.changed(present), said.answer]);
      this.show();
    } catch (error) {
      this.answer.textContent = `The model gave no answer: ${error.message}`;
    } finally {
      this.askButton.disabled = false;
    }
  }

  /** How many patches were added, or taken away, until a coalition. */
  changed(present) {
    const there = present.reduce((sum, one) => sum + one, 0);
    return this.result.direction !== "deletion"
      ? there : present.length - this.result.removedBefore.length - there;
  }

  show() {
    const score = this.scored.get(keyOf(this.present));
    const onStep = keyOf(this.present) === keyOf(afterSteps(this.result, this.step, this.present.length));
    this.paths.forEach((path, index) => {
      const here = this.present[index] === 1, rank = this.result.ranking.indexOf(index);
      path.setAttribute("aria-checked", String(here));
      path.setAttribute("fill", here ? "transparent" : `url(#${this.id}-hatch)`);
      const found = rank < 0 ? "" : `, number ${rank + 1} found`;
      path.setAttribute("aria-label", `${this.data.patches[index].name}${found}, ${here ? "present" : "absent"}`);
    });
    this.numbers.forEach((text, step) => text.classList.toggle("ix-later", step >= this.step));
    this.output.textContent = `${this.step} of ${this.steps}`;
    this.slider.setAttribute("aria-valuetext", `${this.step} of ${this.steps} patches`);
    this.answer.textContent = sentence(this.data, this.present, score, Boolean(this.ask));
    this.answer.classList.toggle("ix-holds", score?.holds === true);
    this.answer.classList.toggle("ix-unknown", score === undefined);
    this.askButton.hidden = score !== undefined || !this.ask;
    this.back.disabled = onStep;
    this.chart.move(this.changed(this.present), score?.answer, this.asked);
  }
}

/** The curve of the steps with a mark that moves. */
class Chart {
  constructor(data, result) {
    this.data = data;
    this.answers = result.answers;
    const full = data.full.answer, all = [...result.answers, full];
    this.low = data.output.is_probability ? 0 : Math.min(...all);
    this.high = data.output.is_probability ? 1 : Math.max(...all);
    if (this.high === this.low) this.high = this.low + 1;
    this.last = Math.max(1, result.ranking.length);
    const { width, height, left, right } = CHART;
    const last = result.answers.length - 1, said = (at) => writeAnswer(data.output, result.answers[at]);
    const flip = result.stoppedAt === null ? "The answer does not change."
      : `The answer changes after ${result.stoppedAt}.`;
    this.root = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "ix-chart", role: "img", "aria-label":
      `Curve of the ${data.output.quantity} over ${last} steps, from ${said(0)} to ${said(last)}. ${flip}` });
    const line = (x1, y1, x2, y2, name) => this.root.append(draw("line", { x1, y1, x2, y2, class: name }));
    const word = (x, y, text, anchor) => {
      const label = draw("text", { x, y, "text-anchor": anchor, class: "ix-label" });
      label.textContent = text;
      this.root.append(label);
    };
    const short = (value) => (data.output.is_probability ? String(value) : general(value, 3));
    for (const share of [0, 0.5, 1]) {
      const value = this.low + share * (this.high - this.low);
      line(left, this.y(value), width - right, this.y(value), "ix-grid");
      word(left - 5, this.y(value) + 4, short(value), "end");
    }
    line(left, this.y(full), width - right, this.y(full), "ix-full");
    word(left, height - 8, "0", "middle");
    word(width - right, height - 8, this.last, "end");
    word((left + width - right) / 2, height - 8, `patches ${result.direction === "deletion" ? "taken away" : "added"}`,
      "middle");
    const points = result.answers.map((answer, step) => `${this.x(step)},${this.y(answer)}`).join(" ");
    this.root.append(draw("polyline", { points, class: "ix-curve" }));
    if (result.stoppedAt !== null) {
      const at = result.stoppedAt;
      this.root.append(draw("circle", { cx: this.x(at), cy: this.y(result.answers[at]), r: 7, class: "ix-flip" }));
    }
    this.others = draw("g");
    this.mark = draw("circle", { r: 4.5, class: "ix-mark" });
    this.root.append(this.others, this.mark);
  }

  x(step) {
    return CHART.left + (Math.min(step, this.last) / this.last) * (CHART.width - CHART.left - CHART.right);
  }

  y(answer) {
    const share = Math.min(1, Math.max(0, (answer - this.low) / (this.high - this.low)));
    return CHART.top + (1 - share) * (CHART.height - CHART.top - CHART.bottom);
  }

  move(changed, answer, asked) {
    this.others.replaceChildren(...asked.map(([step, said]) =>
      draw("circle", { cx: this.x(step), cy: this.y(said), r: 3.5, class: "ix-other" })));
    this.mark.classList.toggle("ix-hidden", answer === undefined);
    if (answer === undefined) return;
    this.mark.setAttribute("cx", this.x(changed));
    this.mark.setAttribute("cy", this.y(answer));
  }
}

function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}) {
  return filled(document.createElementNS(SVG, tag), attributes, []);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** What anywidget calls in a notebook: the kernel is asked by messages, each with a number. */
function render({ model, el }) {
  const waiting = new Map();
  let number = 0;
  const hear = (message) => {
    const one = waiting.get(message.number);
    waiting.delete(message.number);
    if (one && message.kind === "answer") one.resolve(message.score);
    if (one && message.kind === "failed") one.reject(new Error(message.message));
  };
  model.on("msg:custom", hear);
  const ask = (present) => new Promise((resolve, reject) => {
    number += 1;
    waiting.set(number, { resolve, reject });
    model.send({ kind: "ask", number, present: [...present.keys()].filter((patch) => present[patch]) });
  });
  mount(el, structuredClone(model.get("data")), model.get("live") ? ask : undefined);
  return () => model.off("msg:custom", hear);
}

export default { render };
