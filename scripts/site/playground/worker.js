// The Web Worker: loads Pyodide, NumPy and funcnn, and trains in short turns, between which it answers the page.
"use strict";

const VERSION = "0.27.7"; // of Pyodide
const CDN = `https://cdn.jsdelivr.net/pyodide/v${VERSION}/full/`;
const BESIDE = new URL("pyodide/", self.location.href).href; // a copy beside the page comes before the CDN
const BYTES = 16.2e6; // all that is loaded, by which the progress is reckoned
const TURN = 0.1; // seconds of training before the next message is read
const EPOCHS = 50; // of a training that nobody pauses

let python, playground, run, settings;
let going = false;
let until = EPOCHS;
let shown = new Array(64).fill(0); // the image that the feature maps are of

// --- loading -------------------------------------------------------------------------------------------------------

class Failure extends Error {} // its message is for the reader of the page

let loadedBytes = 0;
let step = "";

function progress(what = step) {
  step = what;
  postMessage({ type: "progress", what, done: Math.min(loadedBytes / BYTES, 1), bytes: loadedBytes });
}

// Everything that is fetched, by Pyodide too, is counted while it arrives.
const plainFetch = self.fetch.bind(self);
self.fetch = async (resource, options) => {
  const response = await plainFetch(resource, options);
  if (!response.ok || !response.body) return response;
  let reported = 0;
  const counter = new TransformStream({
    transform(chunk, controller) {
      loadedBytes += chunk.byteLength;
      if (loadedBytes - reported > 2e5) {
        reported = loadedBytes;
        progress();
      }
      controller.enqueue(chunk);
    },
  });
  const { status, headers } = response;
  return new Response(response.body.pipeThrough(counter), { status, headers });
};

async function get(name, missing) {
  let response;
  try {
    response = await fetch(name);
  } catch {
    throw new Failure(`${name} could not be loaded: the server of this page does not answer.`);
  }
  if (!response.ok) throw new Failure(`${missing} (${name}: ${response.status})`);
  return response;
}

async function load() {
  progress("Looking for Pyodide");
  const probe = await plainFetch(`${BESIDE}pyodide-lock.json`, { method: "HEAD" }).catch(() => ({ ok: false }));
  const indexURL = probe.ok ? BESIDE : CDN;
  const where = probe.ok ? "from this page's folder" : "from cdn.jsdelivr.net";
  progress(`Loading Python ${where}`);
  try {
    importScripts(`${indexURL}pyodide.js`);
    python = await loadPyodide({ indexURL });
    progress(`Loading NumPy ${where}`);
    await python.loadPackage("numpy", { messageCallback: () => {}, errorCallback: () => {} });
    python.pyimport("numpy");
  } catch (error) {
    throw new Failure(
      `Pyodide, which is Python for browsers, could not be loaded from ${indexURL}: there is no network, the network ` +
        `does not let it through, or this browser cannot run it. (${error.message ?? error})`,
    );
  }
  progress("Loading funcnn");
  const lost = "A file of this page is missing; make page and make site write all of them.";
  const { wheel } = await (await get("page.json", `The wheel of funcnn is not beside this page. ${lost}`)).json();
  const content = await get(wheel, `The wheel of funcnn is not beside this page. ${lost}`);
  python.unpackArchive(await content.arrayBuffer(), "wheel");
  for (const name of ["standins.py", "drawing.py", "playground.py"]) {
    python.FS.writeFile(name, await (await get(name, lost)).text());
  }
  python.FS.writeFile("digits.npz", new Uint8Array(await (await get("digits.npz", lost)).arrayBuffer()));
  progress("Starting funcnn");
  playground = python.pyimport("playground");
  const versions = python.runPython(
    "import funcnn, numpy, platform\n" +
      "f'funcnn {funcnn.__version__}, NumPy {numpy.__version__}, Python {platform.python_version()}'",
  );
  postMessage({ type: "ready", versions: `${versions}, Pyodide ${python.version}` });
}

// --- what the page asks for ----------------------------------------------------------------------------------------

// Of a Python error the line that says what is wrong, after the traceback, whose lines are indented.
function reason(error) {
  const lines = String(error.message ?? error).split("\n");
  const said = lines.findLast((line) => /^[\w.]+: /.test(line)) ?? lines[0];
  return said.replace(/^(ValueError|funcnn[\w.]+): /, ""); // whose words are for readers
}

function keep(next) {
  if (run && run !== next) run.destroy();
  run = next;
}

const commands = {
  start({ chosen, classes }) {
    settings = chosen;
    const data = classes ? playground.own(python.toPy(classes)) : playground.digits("digits.npz");
    keep(playground.start(JSON.stringify(chosen), data));
    data.destroy();
    until = EPOCHS;
    if (!classes && shown.every((pixel) => pixel === 0)) shown = JSON.parse(playground.held_out_image(run));
    return commands.go();
  },
  go() {
    if (JSON.parse(playground.report(run)).at >= until) until += EPOCHS;
    if (!going) setTimeout(turn);
    going = true;
    return report();
  },
  pause() {
    going = false;
    return report();
  },
  rate({ rate }) {
    if (run) keep(playground.with_rate(run, rate));
    return {};
  },
  draw({ strokes }) {
    const image = JSON.parse(playground.image_of_json(JSON.stringify(strokes)));
    if (strokes.length) shown = image;
    if (!run) return { image, shown };
    const answer = strokes.length ? JSON.parse(playground.probabilities(run, JSON.stringify(image))) : {};
    return { image, shown, ...answer, ...view() };
  },
  save({ format }) {
    const proxy = playground[format](run);
    const bytes = proxy.toJs();
    proxy.destroy();
    return { bytes };
  },
};

const view = () => JSON.parse(playground.first_layer(run, JSON.stringify(shown)));
const report = () => ({ ...JSON.parse(playground.report(run)), ...view(), shown, going });

function turn() {
  if (!going) return;
  try {
    keep(playground.advance(run, TURN));
    going = JSON.parse(playground.report(run)).at < until;
    postMessage({ type: "report", ...report() });
  } catch (error) {
    going = false;
    postMessage({ type: "stopped", message: reason(error) });
  }
  if (going) setTimeout(turn);
}

self.onmessage = ({ data: { id, command, ...rest } }) => {
  try {
    postMessage({ type: "answer", id, answer: commands[command](rest) });
  } catch (error) {
    postMessage({ type: "answer", id, error: reason(error) });
  }
};

load().catch((error) => postMessage({ type: "failed", message: error instanceof Failure ? error.message : String(error) }));
