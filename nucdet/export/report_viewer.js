"use strict";
// One image, large: zoom, move, and a click on a nucleus.

const MAX_ZOOM = 40;
const _viewer = byId("viewer");
let _view = { x: 0, y: 0, width: 1, height: 1 };
// pointers that are down, by their id, and whether they have moved far enough to be no click
const _pointers = new Map();
let _moved = false;

function showImage(index, nucleus = -1) {
  const changed = state.image !== index || !_viewer.firstChild;
  state.image = index;
  state.nucleus = nucleus;
  if (changed) _openImage(images[index]);
  drawSelection();
}

function _openImage(image) {
  byId("viewer-name").textContent = image.name;
  byId("viewer-warning").textContent = image.warning;
  byId("viewer-warning").hidden = !image.warning;
  _viewer.replaceChildren();
  if (!image.thumbnail) {
    _viewer.setAttribute("aria-label", `${image.name}: this page holds no copy of this image`);
    return;
  }
  const [width, height] = outlineSize(image);
  _viewer.append(make("image", { href: image.thumbnail, width, height }));
  _viewer.style.aspectRatio = `${width} / ${height}`;
  fitView();
  drawViewer();
}

// Outlines and texts again, after the threshold or the switch has changed.
function drawViewer() {
  const image = images[state.image];
  const { count } = statistics(image);
  _viewer.setAttribute("aria-label", `${image.name}, ${many(count, "nucleus", "nuclei")} outlined`);
  if (image.thumbnail) drawOutlines(_viewer, image);
  drawSelection();
}

function drawSelection() {
  const image = images[state.image];
  _viewer.querySelectorAll(".selected").forEach((path) => path.remove());
  if (state.nucleus < 0 || !image.outlines || !isShown(image, state.nucleus)) return;
  const d = image.outlines[state.nucleus];
  _viewer.append(make("path", { class: "selected dark", d }), make("path", { class: "selected", d }));
  _bringIntoView(_viewer.lastChild.getBBox());
}

function _bringIntoView(box) {
  const isInside = box.x >= _view.x && box.x + box.width <= _view.x + _view.width &&
    box.y >= _view.y && box.y + box.height <= _view.y + _view.height;
  if (isInside) return;
  _view.x = box.x + box.width / 2 - _view.width / 2;
  _view.y = box.y + box.height / 2 - _view.height / 2;
  _applyView();
}

function fitView() {
  const [width, height] = outlineSize(images[state.image]);
  _view = { x: 0, y: 0, width, height };
  _applyView();
}

// Zoom by a factor around a point of the image, else around the middle.
function zoom(factor, x = _view.x + _view.width / 2, y = _view.y + _view.height / 2) {
  if (!images[state.image].thumbnail) return;
  const [full] = outlineSize(images[state.image]);
  const width = Math.min(full, Math.max(full / MAX_ZOOM, _view.width / factor));
  const scale = width / _view.width;
  _view.x = x - (x - _view.x) * scale;
  _view.y = y - (y - _view.y) * scale;
  _view.width *= scale;
  _view.height *= scale;
  _applyView();
}

function _move(x, y) {
  _view.x += x;
  _view.y += y;
  _applyView();
}

function _applyView() {
  const [width, height] = outlineSize(images[state.image]);
  _view.x = Math.min(Math.max(0, _view.x), width - _view.width);
  _view.y = Math.min(Math.max(0, _view.y), height - _view.height);
  _viewer.setAttribute("viewBox", `${_view.x} ${_view.y} ${_view.width} ${_view.height}`);
  // a finger scrolls the page while there is nothing to move here
  _viewer.style.touchAction = _view.width < width ? "none" : "pan-y";
}

// Units of the view box that one pixel of the screen shows; a high image leaves its sides free.
const _unitsPerPixel = () => 1 / _viewer.getScreenCTM().a;

function _toImage(event) {
  const point = new DOMPoint(event.clientX, event.clientY);
  return point.matrixTransform(_viewer.getScreenCTM().inverse());
}

// The smallest nucleus at a point, or -1; a click that misses an outline by 3 pixels still counts.
const _context = document.createElement("canvas").getContext("2d");
function nucleusAt(image, point) {
  if (!image.outlines) return -1;
  image.paths ??= image.outlines.map((d) => new Path2D(d));
  _context.lineWidth = 6 * _unitsPerPixel();
  const hits = shownNuclei(image).filter((i) =>
    _context.isPointInPath(image.paths[i], point.x, point.y, "evenodd") ||
    _context.isPointInStroke(image.paths[i], point.x, point.y));
  return hits.sort((a, b) => image.areas[a] - image.areas[b])[0] ?? -1;
}

_viewer.addEventListener("wheel", (event) => {
  event.preventDefault();
  const point = _toImage(event);
  zoom(Math.exp(-event.deltaY * 0.002), point.x, point.y);
}, { passive: false });

_viewer.addEventListener("pointerdown", (event) => {
  _viewer.setPointerCapture(event.pointerId);
  if (!_pointers.size) _moved = false;
  _pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
});

_viewer.addEventListener("pointermove", (event) => {
  const before = _pointers.get(event.pointerId);
  if (!before) return;
  const step = { x: event.clientX - before.x, y: event.clientY - before.y };
  if (!_moved && Math.hypot(step.x, step.y) < 4) return;
  _moved = true;
  const other = [..._pointers].find(([id]) => id !== event.pointerId)?.[1];
  if (other) {
    const distance = (p) => Math.hypot(p.x - other.x, p.y - other.y) || 1;
    const point = _toImage(event);
    zoom(distance({ x: event.clientX, y: event.clientY }) / distance(before), point.x, point.y);
  } else {
    const scale = _unitsPerPixel();
    _move(-step.x * scale, -step.y * scale);
  }
  _pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
});

_viewer.addEventListener("pointerup", (event) => {
  const wasDown = _pointers.delete(event.pointerId);
  if (!wasDown || _moved) return;
  selectNucleus(state.image, nucleusAt(images[state.image], _toImage(event)));
});
_viewer.addEventListener("pointercancel", (event) => _pointers.delete(event.pointerId));

_viewer.addEventListener("keydown", (event) => {
  const step = _view.width / 10;
  const actions = {
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: fitView,
    ArrowLeft: () => _move(-step, 0), ArrowRight: () => _move(step, 0),
    ArrowUp: () => _move(0, -step), ArrowDown: () => _move(0, step),
  };
  if (!actions[event.key] || event.ctrlKey || event.metaKey || !images[state.image].thumbnail) return;
  event.preventDefault();
  actions[event.key]();
});

byId("zoom-in").addEventListener("click", () => zoom(1.5));
byId("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
byId("zoom-all").addEventListener("click", () => images[state.image].thumbnail && fitView());
