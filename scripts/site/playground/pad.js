// The drawing pad: strokes by mouse, touch and pen, and a pen that the keyboard moves. Points are from 0 to 1.

const LINES = 16; // on which the keyboard's pen moves, in each direction
const LEAST = 1 / 128; // between two points: a quarter of a bit of the image, of which a fast mouse reports many
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function drawingPad(canvas, { changed, say }) {
  const context = canvas.getContext("2d");
  const pen = { x: LINES / 2, y: LINES / 2, down: false };
  let strokes = [];
  let stroke = null; // that a pointer draws
  let byKeyboard = false;

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const within = (value) => Math.min(Math.max(value, 0), 1);
    return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
  };
  const penPlace = () => [pen.x / LINES, pen.y / LINES];

  function draw() {
    const { width, height } = canvas;
    const colours = getComputedStyle(document.documentElement);
    context.clearRect(0, 0, width, height);
    context.lineWidth = width / 14;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = colours.getPropertyValue("--ink");
    for (const points of strokes) {
      context.beginPath();
      context.moveTo(points[0][0] * width, points[0][1] * height);
      for (const [x, y] of points.length > 1 ? points : [points[0]]) context.lineTo(x * width, y * height);
      context.stroke();
    }
    if (!byKeyboard) return;
    context.beginPath();
    context.arc((pen.x / LINES) * width, (pen.y / LINES) * height, width / 24, 0, 7);
    context.lineWidth = 5;
    context.strokeStyle = colours.getPropertyValue(pen.down ? "--positive" : "--accent");
    context.stroke();
  }

  function change() {
    draw();
    changed(strokes);
  }

  function undo() {
    strokes = strokes.slice(0, -1);
    pen.down = false;
    change();
  }

  function clear() {
    strokes = [];
    stroke = null;
    pen.down = false;
    change();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || stroke) return;
    canvas.setPointerCapture(event.pointerId);
    byKeyboard = pen.down = false;
    stroke = [place(event)];
    strokes = [...strokes, stroke];
    change();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke || !canvas.hasPointerCapture(event.pointerId)) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const [x, y] of (events.length ? events : [event]).map(place)) {
      const [lastX, lastY] = stroke.at(-1);
      if (Math.hypot(x - lastX, y - lastY) > LEAST) stroke.push([x, y]);
    }
    change();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (stroke = null));

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const move = KEYS[event.key];
    if (!move && ![" ", "Backspace", "Delete"].includes(event.key)) return;
    event.preventDefault();
    byKeyboard = true;
    if (event.key === "Backspace") {
      undo();
      say("Undone, pen up");
    } else if (event.key === "Delete") {
      clear();
      say("Cleared, pen up");
    } else {
      if (move) {
        pen.x = Math.min(Math.max(pen.x + move[0], 0), LINES);
        pen.y = Math.min(Math.max(pen.y + move[1], 0), LINES);
        if (pen.down) strokes.at(-1).push(penPlace());
      } else {
        pen.down = !pen.down;
        if (pen.down) strokes = [...strokes, [penPlace()]];
      }
      if (pen.down) change();
      else draw();
      say(`Pen ${pen.down ? "down" : "up"}, column ${pen.x} of ${LINES}, row ${pen.y} of ${LINES}`);
    }
  });
  canvas.addEventListener("focus", () => {
    byKeyboard = canvas.matches(":focus-visible");
    draw();
  });
  canvas.addEventListener("blur", () => {
    byKeyboard = pen.down = false;
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
  return { undo, clear };
}
