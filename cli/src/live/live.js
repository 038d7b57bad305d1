// The page of `l4sllm live`: numbers of the server's event stream, and the switch.
"use strict";

const CLASSIC = 0;
const L4S = 1;
// Samples within this time after a switch, s, do not count for an engine.
const SETTLE = 5;
const ENGINES = ["plain", "tuned", "adaptive", "learned"];

const element = id => document.getElementById(id);
const samples = [];
const totals = {};
// Difference between this page's clock and the server's, s.
let offset = null;
let lastSwitch = -Infinity;
let pending = null;
// What the page shows, and whether it may switch engines.
let about = { subject: "", policy: null, may_switch: false, read_only: "" };

const of = (queue, key) => sample => (sample.queues ? sample.queues[queue][key] : null);
const sum = (one, other) => sample => {
  const [a, b] = [one(sample), other(sample)];
  return a === null || b === null ? null : a + b;
};
const zero = () => 0;

const charts = [
  new Chart("delay", {
    log: true, unit: "", least: [0.2, 20],
    layers: () => [CLASSIC, L4S].flatMap(queue => {
      const name = queue === CLASSIC ? "classic" : "l4s";
      const [p50, p99] = [of(queue, "p50_ms"), of(queue, "p99_ms")];
      return [
        { colour: name, top: p99, bottom: p50, alpha: 0.22 },
        { colour: name, top: p99, width: 0.8 },
        { colour: name, top: p50, width: 2.2 },
      ];
    }),
  }),
  new Chart("rates", {
    least: [0, 1],
    layers: () => {
      const classic = of(CLASSIC, "mbit_s");
      const both = sum(classic, of(L4S, "mbit_s"));
      return [
        { colour: "classic", top: classic, bottom: zero, alpha: 0.35 },
        { colour: "l4s", top: both, bottom: classic, alpha: 0.35 },
        { colour: "classic", top: classic, width: 1.4 },
        { colour: "l4s", top: both, width: 1.4 },
      ];
    },
  }),
  new Chart("signals", {
    least: [0, 5],
    layers: () => [
      { colour: "l4s", top: of(L4S, "marks_s"), width: 1.8 },
      { colour: "classic", top: of(CLASSIC, "marks_s"), width: 1.8 },
      { colour: "drop", top: sum(of(CLASSIC, "drops_s"), of(L4S, "drops_s")), width: 1.8 },
    ],
  }),
];

// Three significant digits; a dash without a value.
function digits(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  return value.toFixed(size >= 10 ? 1 : 2);
}

function show(id, value) {
  element(id).textContent = typeof value === "string" ? value : digits(value);
}

function add(sample) {
  const before = samples.at(-1);
  if (before && sample.t <= before.t) return;
  if (before && before.engine !== sample.engine) lastSwitch = sample.t;
  samples.push(sample);
  while (samples.length && samples[0].t < sample.t - SPAN - 5) samples.shift();
  const seconds = before ? sample.t - before.t : 0;
  if (sample.queues && seconds < GAP && sample.t - lastSwitch > SETTLE) count(sample, seconds);
  const late = performance.now() / 1000 - sample.t;
  offset = offset === null ? late : Math.min(offset + 0.001, late);
}

// Adds a sample to the means of its engine.
function count(sample, seconds) {
  const [classic, l4s] = sample.queues;
  const total = totals[sample.engine] || (totals[sample.engine] = { seconds: 0, sums: [0, 0, 0, 0, 0] });
  const rate = classic.mbit_s + l4s.mbit_s;
  const drops = classic.drops_s + l4s.drops_s;
  const values = [classic.p50_ms, classic.p99_ms, l4s.p99_ms, rate, drops];
  if (values.some(value => value === null)) return;
  total.seconds += seconds;
  values.forEach((value, at) => { total.sums[at] += seconds * value; });
}

function update(sample) {
  const lost = sample.error !== null;
  const state = element("state");
  state.textContent = lost ? "no answer" : sample.state === "running" ? "running" : "waiting for a device";
  state.className = `state ${lost ? "lost" : sample.state}`;
  notes(sample);
  buttons(sample);
  const queue = sample.queues || [{}, {}];
  show("classic-p50", queue[CLASSIC].p50_ms);
  show("classic-p99", queue[CLASSIC].p99_ms);
  show("l4s-p50", queue[L4S].p50_ms);
  show("l4s-p99", queue[L4S].p99_ms);
  show("classic-rate", queue[CLASSIC].mbit_s);
  show("l4s-rate", queue[L4S].mbit_s);
  const total = key => sum(of(CLASSIC, key), of(L4S, key))(sample);
  show("rate", total("mbit_s"));
  show("marks", total("marks_s"));
  show("drops", total("drops_s"));
  points(sample);
  engines(sample);
}

function notes(sample) {
  const note = element("note");
  const text = sample.error || failure || (sample.switch && about.may_switch ? "" : about.read_only);
  note.hidden = !text;
  note.textContent = text || "";
}

function buttons(sample) {
  for (const button of document.querySelectorAll("#switch button")) {
    const engine = button.dataset.engine;
    const offered = about.may_switch && sample.switch && sample.switch.includes(engine);
    button.disabled = !offered;
    const missing = engine === "learned" && sample.switch && !sample.switch.includes(engine);
    button.title = missing ? "the daemon's configuration has no policy" : "";
    button.setAttribute("aria-pressed", String(sample.engine === engine));
    button.setAttribute("aria-busy", String(pending === engine));
  }
  const policy = sample.policy || about.policy;
  element("policy").textContent = policy ? `policy ${policy}` : "a policy";
}

// The factor on a set-point as a bar from 1, on a logarithmic axis of 0.1 to 10.
function bar(factor) {
  const at = 50 + 50 * Math.max(-1, Math.min(1, Math.log10(factor)));
  const [from, to] = [Math.min(50, at), Math.max(50, at)];
  const kind = factor < 1 ? "less" : "more";
  return `<svg viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">
    <rect class="${kind}" x="${from}" y="3" width="${to - from}" height="8"></rect>
    <line class="axis" x1="50" x2="50" y1="0" y2="14" vector-effect="non-scaling-stroke"></line></svg>`;
}

function points(sample) {
  const rows = (sample.points || []).map(point => {
    const row = document.createElement("tr");
    const changed = Math.abs(point.factor - 1) > 1e-3;
    const unit = point.unit ? ` ${point.unit}` : "";
    row.innerHTML = `<th class="name" scope="row"></th><td></td><td></td><td class="bar">${bar(point.factor)}</td>`;
    row.children[0].textContent = point.name;
    row.children[1].textContent = digits(point.configured) + unit;
    row.children[2].textContent = digits(point.configured * point.factor) + unit;
    if (changed) row.children[2].style.fontWeight = "700";
    return row;
  });
  element("points").replaceChildren(...rows);
  element("decisions").textContent = sample.label
    ? `${sample.label}; ${digits(sample.decisions_s)} decisions/s` +
      (sample.decision_us ? `, ${digits(sample.decision_us)} µs each (median)` : "")
    : "";
}

function engines(sample) {
  const rows = ENGINES.map(engine => {
    const row = document.createElement("tr");
    row.dataset.engine = engine;
    if (engine === sample.engine) row.className = "now";
    const total = totals[engine];
    const known = total && total.seconds > 0;
    const cells = known ? total.sums.map(value => digits(value / total.seconds)) : ["–", "–", "–", "–", "–"];
    const time = known ? `${total.seconds.toFixed(0)} s` : "–";
    row.innerHTML = `<th class="name" scope="row">${engine}</th>` + "<td></td>".repeat(6);
    [time, ...cells].forEach((text, at) => { row.children[at + 1].textContent = text; });
    return row;
  });
  element("engines").replaceChildren(...rows);
}

let failure = "";
async function choose(engine) {
  pending = engine;
  failure = "";
  try {
    const answer = await fetch("engine", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ engine }),
    });
    if (!answer.ok) failure = await answer.text();
  } catch (error) {
    failure = "the server does not answer";
  }
  pending = null;
  if (samples.length) update(samples.at(-1));
}

element("switch").addEventListener("click", event => {
  const button = event.target.closest("button");
  if (!button || button.disabled) return;
  choose(button.dataset.engine);
  button.setAttribute("aria-busy", "true");
});

const events = new EventSource("events");
events.addEventListener("about", event => {
  about = JSON.parse(event.data);
  element("subject").textContent = about.subject;
});
events.addEventListener("history", event => {
  const past = JSON.parse(event.data);
  // Another server counts time from its own start.
  if (past.length && samples.length && past.at(-1).t < samples.at(-1).t) {
    samples.length = 0;
    offset = null;
    lastSwitch = -Infinity;
  }
  past.forEach(add);
  if (samples.length) update(samples.at(-1));
});
events.addEventListener("sample", event => {
  add(JSON.parse(event.data));
  update(samples.at(-1));
});
events.addEventListener("error", () => {
  const state = element("state");
  state.textContent = "no connection";
  state.className = "state lost";
});

// Without motion, the charts move with each sample instead of each frame.
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let drawn = 0;
let frame = 0;
function draw(time) {
  requestAnimationFrame(draw);
  if (offset === null || (calm.matches && time - drawn < 250)) return;
  // The first frame takes the scale of the data.
  const ease = frame++ < 2 ? 1 : Math.min(1, (time - drawn) / 400);
  drawn = time;
  const now = time / 1000 - offset - LAG;
  for (const chart of charts) chart.draw(samples, now, ease);
}
requestAnimationFrame(draw);
