// A first plain dashboard: the streams of this service, and one of them live.
// Rows come as the binary frames of docs/protocol.md; nothing is fetched from any other host.

const HEADER_BYTES = 32;
const TYPE = { detections: 16, events: 17, field: 18, evidence: 19, watermark: 20 };
const FADE = 0.82;
const NOTES = 6;

const element = (id) => document.getElementById(id);
const view = element("view");
const context = view.getContext("2d");

let chosen = null;
let socket = null;
let outputs = new Map();
let sensor = { width: 1, height: 1 };
let arrows = [];
let points = [];
let watermark = null;
let rowsSeen = new Map();
let notes = [];

function parse(buffer) {
  const data = new DataView(buffer);
  if (buffer.byteLength < HEADER_BYTES || data.getUint32(0, false) !== 0x50434859) throw new Error("not a frame");
  return {
    type: data.getUint8(5), code: data.getUint16(6, true), number: Number(data.getBigUint64(8, true)),
    t: Number(data.getBigInt64(16, true)), count: data.getUint32(24, true), data,
  };
}

function takeEvents(frame) {
  const total = Number(frame.data.getBigUint64(HEADER_BYTES, true));
  for (let i = 0, at = HEADER_BYTES + 8; i < frame.count; i++, at += 8) {
    const y = frame.data.getUint16(at + 6, true);
    points.push(frame.data.getUint16(at + 4, true), y & 32767, y >> 15);
  }
  return total;
}

function takeDetections(frame, output) {
  if ([...outputs.values()].some((one) => one.type === TYPE.events)) return frame.count; // events tell more
  for (let i = 0, at = HEADER_BYTES; i < frame.count; i++, at += 24) {
    const label = output.labels[frame.data.getUint16(at + 12, true)];
    const degrees = label ? label.direction_deg : null;
    points.push(frame.data.getUint16(at + 8, true), frame.data.getUint16(at + 10, true), degrees === null ? 1 : 2 + degrees);
  }
  return frame.count;
}

function takeField(frame) {
  let t = null;
  for (let i = 0, at = HEADER_BYTES; i < frame.count; i++, at += 32) {
    const rowTime = frame.data.getBigInt64(at, true);
    if (rowTime !== t) { t = rowTime; arrows = []; }
    arrows.push({
      x: frame.data.getUint16(at + 8, true), y: frame.data.getUint16(at + 10, true),
      vx: frame.data.getFloat32(at + 12, true), vy: frame.data.getFloat32(at + 16, true),
      confidence: frame.data.getFloat32(at + 20, true),
    });
  }
  return frame.count;
}

function receive(message) {
  if (typeof message.data === "string") return hear(JSON.parse(message.data));
  const frame = parse(message.data);
  const output = outputs.get(frame.code);
  if (!output) return;
  if (frame.type === TYPE.watermark) { watermark = frame.t; return; }
  let rows = frame.count;
  if (frame.type === TYPE.events) rows = takeEvents(frame);
  else if (frame.type === TYPE.detections) rows = takeDetections(frame, output);
  else if (frame.type === TYPE.field) rows = takeField(frame);
  rowsSeen.set(output.id, frame.number + rows);
}

function hear(document) {
  if (document.type === "hello") {
    outputs = new Map(document.outputs.map((output) => [output.index, output]));
    const grid = document.outputs[0];
    sensor = { width: grid.width, height: grid.height };
    view.width = sensor.width * Math.max(1, Math.round(1024 / sensor.width));
    view.height = view.width * sensor.height / sensor.width;
    document.outputs.forEach((output) => rowsSeen.set(output.id, output.next_row));
  } else if (document.type === "lagged") {
    note(`${document.output}: this page was too slow for rows ${document.from} to ${document.to}`);
  } else if (document.type === "gap") {
    note(`gap in the stream before ${(document.t_us / 1e6).toFixed(3)} s`);
  } else if (document.type === "error") {
    note(`error: ${document.detail}`);
  } else if (document.type === "end") {
    note("the stream has ended");
  }
}

function note(text) {
  notes = [text, ...notes].slice(0, NOTES);
  element("notes").textContent = notes.join("\n");
}

function colour(degrees) {
  return `hsl(${((degrees % 360) + 360) % 360} 85% 62%)`;
}

function draw() {
  requestAnimationFrame(draw);
  const scale = view.width / sensor.width;
  context.fillStyle = `rgb(13 13 16 / ${1 - FADE})`;
  context.fillRect(0, 0, view.width, view.height);
  for (let i = 0; i < points.length; i += 3) {
    const kind = points[i + 2];
    context.fillStyle = kind === 1 ? "#f08a72" : kind === 0 ? "#7cc0e8" : colour(kind - 2);
    context.fillRect(points[i] * scale, points[i + 1] * scale, scale, scale);
  }
  points = [];
  const tile = 16 * scale;
  context.lineWidth = Math.max(1.5, scale / 2);
  for (const arrow of arrows) {
    if (arrow.confidence < 0.15) continue;
    const degrees = Math.atan2(arrow.vy, arrow.vx) * 180 / Math.PI;
    const speed = Math.hypot(arrow.vx, arrow.vy);
    const length = tile * Math.min(1, 0.35 + speed);
    const [ux, uy] = [arrow.vx / speed, arrow.vy / speed];
    const [cx, cy] = [arrow.x * scale + tile / 2, arrow.y * scale + tile / 2];
    const [tx, ty] = [cx + ux * length / 2, cy + uy * length / 2];
    context.strokeStyle = colour(degrees);
    context.globalAlpha = Math.min(1, 0.3 + arrow.confidence);
    context.beginPath();
    context.moveTo(cx - ux * length / 2, cy - uy * length / 2);
    context.lineTo(tx, ty);
    context.lineTo(tx - length / 3 * (ux - uy * 0.6), ty - length / 3 * (uy + ux * 0.6));
    context.moveTo(tx, ty);
    context.lineTo(tx - length / 3 * (ux + uy * 0.6), ty - length / 3 * (uy - ux * 0.6));
    context.stroke();
    context.globalAlpha = 1;
  }
}

function open(stream) {
  if (socket) { socket.onclose = null; socket.close(); }
  chosen = stream.id;
  points = []; arrows = []; notes = []; watermark = null; rowsSeen = new Map();
  element("notes").textContent = "";
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}${stream.results_url}`, "polychrony.v1");
  socket.binaryType = "arraybuffer";
  socket.onmessage = receive;
  socket.onclose = (event) => { if (event.code !== 1000) note(`connection closed (${event.code})`); };
}

function show(streams) {
  element("no-streams").hidden = streams.length > 0;
  element("streams").replaceChildren(...streams.map((stream) => {
    const button = document.createElement("button");
    button.textContent = stream.id;
    button.setAttribute("aria-pressed", String(stream.id === chosen));
    const small = document.createElement("small");
    small.textContent = `${stream.state}, ${stream.sensor.width}x${stream.sensor.height}, ${stream.outputs.join(", ")}`;
    button.append(small);
    button.onclick = () => open(stream);
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

function figures(stats) {
  const dropped = Object.values(stats.dropped).reduce((sum, n) => sum + n, 0);
  const values = {
    state: stats.state, events: stats.events.toLocaleString(), dropped: dropped.toLocaleString(),
    lag: `${(stats.lag_us / 1000).toFixed(1)} ms`,
    "stream time": watermark === null ? "–" : `${(watermark / 1e6).toFixed(2)} s`,
    ...Object.fromEntries(Object.entries(stats.rows).map(([name, n]) => [`${name} rows`, n.toLocaleString()])),
  };
  element("figures").replaceChildren(...Object.entries(values).map(([name, value]) => {
    const [box, term, text] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
    term.textContent = name;
    text.textContent = value;
    box.append(term, text);
    return box;
  }));
}

async function ask(path) {
  const response = await fetch(path);
  const document = await response.json();
  if (!response.ok) throw new Error(document.detail ?? response.statusText);
  return document;
}

async function refresh() {
  try {
    const { streams } = await ask("/v1/streams?limit=200");
    element("status").textContent = `${streams.length} stream${streams.length === 1 ? "" : "s"}`;
    const open_ = streams.filter((stream) => stream.state === "open");
    if ((chosen === null || !streams.some((stream) => stream.id === chosen)) && open_.length) open(open_[0]);
    show(streams);
    if (streams.some((stream) => stream.id === chosen)) figures(await ask(`/v1/streams/${chosen}/stats`));
  } catch (problem) {
    element("status").textContent = `no answer from the service: ${problem.message}`;
  }
  setTimeout(refresh, 1000);
}

draw();
refresh();
