// The page: what is chosen and drawn goes to the worker; what the worker reports is shown.

import { drawingPad } from "./pad.js";
import { ownClasses } from "./classes.js";
import { chart, tile, tiles } from "./charts.js";

const $ = (id) => document.getElementById(id);
const percent = (part, digits = 1) => `${(100 * part).toFixed(digits)} %`;
const numbers = (text) => text.split(" ").filter(Boolean).map(Number);
const ANNOUNCE = 10_000; // milliseconds between spoken reports of a training

// --- the worker ----------------------------------------------------------------------------------------------------

const waiting = new Map();
let worker;
let asked = 0;

function ask(command, rest = {}) {
  asked += 1;
  worker.postMessage({ id: asked, command, ...rest });
  return new Promise((resolve, reject) => waiting.set(asked, { resolve, reject }));
}

const told = {
  progress({ what, done, bytes }) {
    if ($("loading-text").textContent !== what) $("loading-text").textContent = what; // a screen reader reads each step
    $("loading-bar").value = done;
    $("loading-bytes").textContent = `${(bytes / 1e6).toFixed(1)} of about 16 megabytes.`;
  },
  ready({ versions }) {
    $("loading").hidden = true;
    $("versions").textContent = `${versions}, in this browser.`;
    $("start").disabled = false;
    $("status").textContent = "Ready. Start the training.";
    document.documentElement.dataset.ready = "";
    predict(); // what was drawn meanwhile
  },
  failed({ message }) {
    fail(message);
  },
  report(report) {
    show(report);
  },
  stopped({ message }) {
    ended(`The training stopped: ${message}`);
  },
  answer({ id, answer, error }) {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(answer);
    else reject(new Error(error));
  },
};

function fail(message) {
  $("loading").hidden = true;
  $("failure").hidden = false;
  $("failure").textContent = message;
}

function begin() {
  if (typeof WebAssembly !== "object") return fail("This browser has no WebAssembly, which Python needs, or it is turned off.");
  if (typeof Worker !== "function") return fail("This browser has no Web Workers, in which the network trains.");
  worker = new Worker("worker.js");
  worker.onmessage = ({ data: { type, ...rest } }) => told[type](rest);
  worker.onerror = (event) => fail(`The worker of this page could not run: ${event.message ?? "worker.js is missing"}.`);
}

// --- training ------------------------------------------------------------------------------------------------------

let curves; // of losses, and of accuracies
let training = { source: "", classes: [], going: false };
let announced = 0;

const chosen = () => ({
  source: $("source").value === "own" ? "drawings" : "digits",
  channels: numbers($("channels").value),
  kernel_size: Number($("kernel").value),
  hidden: numbers($("hidden").value),
  rate: Number($("rate").value),
});

async function start() {
  const own = $("source").value === "own";
  const classes = own ? classList.classes().filter((one) => one.images.length) : null;
  if (own && classes.length < 2) {
    say("Your own classes come first: at least two of them, with a drawing each.");
    return;
  }
  try {
    const report = await ask("start", { chosen: chosen(), classes });
    curves = { loss: [], accuracy: [], rows: [] }; // not before: the network in training reported until now
    $("epochs").replaceChildren();
    $("accuracy").textContent = "–";
    chart($("accuracy-chart"), [], { name: "Accuracy", top: 1 });
    const apart = report.held_out > 0;
    const of = own ? "drawings" : "digits";
    $("accuracy-of").textContent = apart ? `Accuracy on ${report.held_out} held-out ${of}` : "Accuracy on the same drawings";
    training = { apart, going: true };
    for (const format of ["safetensors", "onnx"]) $(`save-${format}`).disabled = false;
    show(report);
    say(`Training on ${report.examples} ${of}.`);
    forgetVerdict();
    predict();
  } catch (error) {
    say(`The training could not start: ${error.message}`);
  }
}

function show(report) {
  const { at, loss, last, going, kernels, maps, shown } = report;
  if (loss !== null && curves.loss.at(-1)?.[0] !== at) curves.loss.push([at, loss]);
  $("epoch").textContent = String(Math.floor(at));
  $("loss").textContent = loss === null ? "–" : loss.toPrecision(3);
  if (last && curves.rows.at(-1)?.epoch !== last.epoch) {
    curves.rows.push(last);
    curves.accuracy.push([last.epoch, last.validation_accuracy]);
    $("accuracy").textContent = percent(last.validation_accuracy);
    $("epochs").prepend(row([last.epoch, last.loss.toPrecision(3), percent(last.validation_accuracy)]));
    chart($("accuracy-chart"), curves.accuracy, { name: "Accuracy", top: 1, dots: true, format: (y) => percent(y) });
    predictSoon();
  }
  chart($("loss-chart"), curves.loss, { name: "Loss", logarithmic: true, format: (y) => y.toPrecision(2) });
  showLayer(kernels, maps, shown);
  training.going = going;
  $("start").textContent = "Start again";
  $("pause").disabled = false;
  $("pause").textContent = going ? "Pause" : "Go on";
  const words = last ? `Epoch ${last.epoch}: ${percent(last.validation_accuracy)} right.` : "";
  if (!going) say(`Paused. ${words}`);
  else if (words && Date.now() - announced > ANNOUNCE) say(`Training. ${words}`);
}

function row(cells) {
  const line = document.createElement("tr");
  for (const cell of cells) line.insertCell().textContent = cell;
  return line;
}

function say(words) {
  announced = Date.now();
  $("status").textContent = words;
}

function ended(words) {
  training.going = false;
  $("pause").textContent = "Go on";
  say(words);
}

function showLayer(kernels, maps, shown) {
  const span = (images) => images.flat(2).reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  const [rows, columns] = [kernels[0].length, kernels[0][0].length];
  const width = $("layer").clientWidth - 34;
  const [least, most] = span(kernels).map((value) => value.toFixed(2));
  tiles($("kernels"), kernels, { width, size: rows > 5 ? 4 : 10, positive: "--positive" });
  $("kernels").setAttribute(
    "aria-label",
    `${kernels.length} kernels of ${rows} by ${columns} weights, from ${least} to ${most}`,
  );
  const single = maps[0].length === 1;
  tiles($("maps"), maps, { width: width - 112, size: single ? 16 : 6 });
  const sums = maps.map((map, i) => [map.flat().reduce((a, b) => a + b), i + 1]).sort((a, b) => b[0] - a[0]);
  const strongest = sums.slice(0, 3).map(([, i]) => i);
  const kind = single ? "outputs" : `feature maps of ${maps[0].length} by ${maps[0][0].length}`;
  $("maps").setAttribute("aria-label", `${maps.length} ${kind}; the strongest are those of kernels ${strongest.join(", ")}`);
  tile($("shown"), shown);
  $("map-of").textContent = strokes.length ? "your drawing" : "a digit";
  $("shown").setAttribute("aria-label", strokes.length ? "Your drawing, as the network sees it" : "A digit");
}

// --- drawing -------------------------------------------------------------------------------------------------------

let strokes = [];
let predicting = false;
let again = false;
let verdictTimer = 0;
const verdict = { best: null, words: "" }; // the class that is read out, and the newest words

// One question at a time: what is drawn meanwhile is asked about afterwards.
async function predict() {
  if (!("ready" in document.documentElement.dataset)) return;
  again = true;
  $("bars").ariaBusy = "true";
  if (predicting) return;
  predicting = true;
  while (again) {
    again = false;
    try {
      const answer = await ask("draw", { strokes });
      tile($("seen"), answer.image, strokes.length ? `Your drawing: ${inWords(answer.image)}` : "Nothing is drawn");
      if (answer.kernels) showLayer(answer.kernels, answer.maps, strokes.length ? answer.image : answer.shown);
      showProbabilities(answer);
    } catch (error) {
      forgetVerdict();
      $("bars").replaceChildren();
      $("verdict").textContent = `No probabilities: ${error.message}.`;
    }
  }
  predicting = false;
  $("bars").ariaBusy = "false";
}

const predictSoon = () => strokes.length && predict();

const inWords = (image) => `${image.filter((count) => count > 4).length} of 64 squares have ink`;

function showProbabilities({ classes, probabilities }) {
  if (!probabilities) {
    forgetVerdict();
    $("bars").replaceChildren();
    $("verdict").textContent = training.going || curves ? "Draw something." : "Train the network, then draw.";
    return;
  }
  if ($("bars").children.length !== classes.length) $("bars").replaceChildren(...classes.map(() => bar()));
  const best = probabilities.indexOf(Math.max(...probabilities));
  [...$("bars").children].forEach((line, i) => {
    line.classList.toggle("best", i === best);
    line.querySelector(".name").textContent = classes[i];
    line.querySelector(".bar span").style.width = percent(probabilities[i]).replace(" ", "");
    line.querySelector(".number").textContent = percent(probabilities[i]);
  });
  verdict.words = `It is most like ${classes[best]}: ${percent(probabilities[best], 0)}.`;
  // Read out when the hand rests. While a network trains, its percentages change with each epoch: now and then.
  if (verdict.best !== best) forgetVerdict();
  const delay = verdict.best === best ? ANNOUNCE : 600;
  verdict.best = best;
  verdictTimer ||= setTimeout(() => {
    verdictTimer = 0;
    $("verdict").textContent = verdict.words;
  }, delay);
}

function forgetVerdict() {
  clearTimeout(verdictTimer);
  verdictTimer = 0;
  verdict.best = null;
}

function bar() {
  const line = document.createElement("li");
  for (const name of ["name", "bar", "number"]) line.append(Object.assign(document.createElement("span"), { className: name }));
  line.querySelector(".bar").append(document.createElement("span"));
  line.querySelector(".bar").setAttribute("aria-hidden", "true");
  return line;
}

const pad = drawingPad($("pad"), {
  changed(drawn) {
    strokes = drawn;
    forgetVerdict();
    predict();
  },
  say: (words) => ($("pen").textContent = words),
});
const classList = ownClasses($("classes"), $("new-class"), $("own-status"), {
  // the image of what is drawn, and an empty pad, at once: a second click adds nothing
  async take() {
    if (!strokes.length) return null;
    if (!("ready" in document.documentElement.dataset)) throw new Error("Python is still loading");
    const asked = ask("draw", { strokes });
    pad.clear();
    return (await asked).image;
  },
});

// --- buttons -------------------------------------------------------------------------------------------------------

$("settings").addEventListener("submit", (event) => event.preventDefault());
$("start").addEventListener("click", start);
$("pause").addEventListener("click", async () => {
  try {
    show(await ask(training.going ? "pause" : "go"));
    if (training.going) say("Training goes on.");
  } catch (error) {
    ended(`The training cannot go on: ${error.message}`);
  }
});
$("rate").addEventListener("change", () => curves && ask("rate", { rate: Number($("rate").value) }));
$("channels").addEventListener("change", () => ($("kernel").disabled = !$("channels").value));
$("undo").addEventListener("click", pad.undo);
$("clear").addEventListener("click", pad.clear);
for (const format of ["safetensors", "onnx"]) {
  $(`save-${format}`).addEventListener("click", async () => {
    try {
      const { bytes } = await ask("save", { format });
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
      link.download = `network.${format}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      $("saved").textContent = `network.${format}: ${bytes.length.toLocaleString("en")} bytes.`;
    } catch (error) {
      $("saved").textContent = `The file could not be written: ${error.message}`;
    }
  });
}

begin();
