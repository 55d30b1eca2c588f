// Pictures with their descriptions in words: curves as SVG, and small images side by side on a canvas.

const WIDTH = 320;
const HEIGHT = 170;
const LEFT = 48;
const BOTTOM = 24;

// Curves of points (x, y); logarithmic ones have ticks at powers of ten.
export function chart(svg, points, { name, top, logarithmic = false, dots = false, format }) {
  const last = Math.max(points.at(-1)?.[0] ?? 0, 1);
  const values = points.map(([, y]) => y).filter((y) => y > 0);
  const scale = logarithmic ? Math.log10 : (y) => y;
  const low = logarithmic ? Math.floor(Math.log10(Math.min(...values, 0.5))) : 0;
  const high = logarithmic ? Math.ceil(Math.log10(Math.max(...values, 1))) : top;
  const x = (value) => LEFT + ((WIDTH - LEFT - 8) * value) / last;
  const y = (value) => 8 + ((HEIGHT - BOTTOM - 8) * (high - value)) / (high - low || 1);
  const step = Math.ceil((high - low) / 9); // so many labels have room
  const powers = Array.from({ length: Math.floor((high - low) / step) + 1 }, (_, i) => low + step * i);
  const ticks = logarithmic ? powers : [0, 0.25, 0.5, 0.75, 1];
  const power = (tick) => (Math.abs(tick) > 3 ? `1e${tick}` : String(+(10 ** tick).toPrecision(1)));
  const label = (tick) => (logarithmic ? power(tick) : `${100 * tick} %`);
  const grid = ticks.map(
    (tick) =>
      `<line class="axis" x1="${LEFT}" x2="${WIDTH - 8}" y1="${y(tick)}" y2="${y(tick)}"/>` +
      `<text x="${LEFT - 5}" y="${y(tick) + 4}" text-anchor="end">${label(tick)}</text>`,
  );
  const drawn = points.filter(([, value]) => !logarithmic || value > 0);
  const at = drawn.map(([epoch, value]) => [x(epoch).toFixed(1), y(scale(value)).toFixed(1)]);
  const circles = dots ? at.map(([cx, cy]) => `<circle class="dot" cx="${cx}" cy="${cy}" r="2.5"/>`) : [];
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.innerHTML =
    grid.join("") +
    `<text x="${LEFT}" y="${HEIGHT - 6}">0</text>` +
    `<text x="${WIDTH - 8}" y="${HEIGHT - 6}" text-anchor="end">epoch ${Math.ceil(last)}</text>` +
    `<polyline class="curve" points="${at.map((pair) => pair.join(",")).join(" ")}"/>${circles.join("")}`;
  const [first, end] = [points[0], points.at(-1)];
  const words = end ? `from ${format(first[1])} to ${format(end[1])} in ${end[0].toFixed(0)} epochs` : "nothing yet";
  svg.setAttribute("aria-label", `${name}: ${words}`);
}

// A colour of the style sheet as three numbers.
function colour(name) {
  const context = document.createElement("canvas").getContext("2d");
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data];
}

// Images (rows of rows of numbers) side by side, each number a colour between the ground and a positive or negative one.
export function tiles(canvas, images, { width, size, positive = "--ink", negative = "--negative", largest }) {
  const [rows, columns] = [images[0].length, images[0][0].length];
  const perRow = Math.max(1, Math.min(images.length, Math.floor(width / (columns * size + 4))));
  const most = largest ?? Math.max(1e-9, ...images.flat(2).map(Math.abs));
  const [zero, above, below] = [colour("--ground"), colour(positive), colour(negative)];
  canvas.width = perRow * (columns + 1) - 1;
  canvas.height = Math.ceil(images.length / perRow) * (rows + 1) - 1;
  canvas.style.width = `${canvas.width * size}px`;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  images.forEach((image, i) => {
    const [left, top] = [(i % perRow) * (columns + 1), Math.floor(i / perRow) * (rows + 1)];
    image.forEach((row, r) =>
      row.forEach((value, c) => {
        const part = Math.min(Math.abs(value) / most, 1);
        const end = value < 0 ? below : above;
        const at = 4 * ((top + r) * canvas.width + left + c);
        for (let k = 0; k < 3; k++) pixels.data[at + k] = zero[k] + part * (end[k] - zero[k]);
        pixels.data[at + 3] = 255;
      }),
    );
  });
  context.putImageData(pixels, 0, 0);
}

export const rowsOf = (image) => Array.from({ length: 8 }, (_, r) => image.slice(8 * r, 8 * r + 8));

// An image of 64 counts from 0 to 16.
export function tile(canvas, image, label) {
  tiles(canvas, [rowsOf(image)], { width: 8, size: 1, largest: 16 });
  canvas.style.width = "";
  if (label) canvas.setAttribute("aria-label", label);
}
