"use strict";
// All images: tiles of totals, gallery, table; threshold, order and filter; the start.

function drawTiles() {
  const shown = state.order.map((i) => images[i]);
  const areas = shown.flatMap((image) => shownNuclei(image).map((i) => image.areas[i])).sort((a, b) => a - b);
  const counts = shown.map((image) => statistics(image).count).sort((a, b) => a - b);
  const median = quantile(areas, 0.5);
  const tiles = [["Nuclei", show(areas.length)], ["Images", show(shown.length)]];
  tiles.push(["Median per image", show(quantile(counts, 0.5))]);
  tiles.push(["Median area", show(median), settings.unit]);
  tiles.push(["Its diameter", show(Number((2 * Math.sqrt(median / Math.PI)).toPrecision(3))), settings.unit.replace("²", "")]);
  const warnings = shown.filter((image) => image.warning).length;
  if (warnings) tiles.push(["With a warning", show(warnings)]);
  byId("tiles").replaceChildren(...tiles.map(([label, value, unit]) =>
    make("div", {}, make("b", {}, value, ...(unit ? [make("small", {}, ` ${unit}`)] : [])), make("span", {}, label))));
  byId("title").textContent = `${many(areas.length, "nucleus", "nuclei")} in ${many(shown.length, "image", "images")}`;
  document.title = byId("title").textContent;
}

// --- gallery: a card an image, filled when it comes into sight ---

const _cards = new Map();
const _sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.isInSight = isIntersecting;
    if (isIntersecting) _fillCard(target);
  }
}, { rootMargin: "400px" });

function _makeCard(image) {
  const [width, height] = outlineSize(image);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  const frame = make("span", { class: "frame" }, make("img", { alt: "", decoding: "async" }), svg);
  const card = make("button", { type: "button", class: "card" }, frame,
    make("b", { title: image.name }, image.name), make("span", { class: "numbers" }));
  if (image.warning) card.append(make("span", { class: "warning" }, image.warning));
  card.addEventListener("click", () => {
    selectNucleus(image.index, -1);
    byId("bench").scrollIntoView({ block: "start" });
    byId("viewer").focus({ preventScroll: true });
  });
  card.image = image;
  _sight.observe(card);
  return card;
}

function _fillCard(card) {
  const picture = card.querySelector("img");
  if (!picture.src) picture.src = card.image.thumbnail;
  const look = `${state.threshold} ${state.outlines}`;
  if (card.look === look) return;
  card.look = look;
  drawOutlines(card.querySelector("svg"), card.image);
  const { count, meanArea } = statistics(card.image);
  const area = count ? ` · mean ${show(meanArea)} ${settings.unit}` : "";
  card.querySelector(".numbers").textContent = many(count, "nucleus", "nuclei") + area;
}

const _shownCards = () => state.order.map((i) => _cards.get(i)).filter(Boolean);

function drawGallery() {
  const shown = _shownCards();
  byId("gallery").replaceChildren(...shown);
  shown.filter((card) => card.isInSight).forEach(_fillCard);
}

// on paper all are in sight
window.addEventListener("beforeprint", () => _shownCards().forEach(_fillCard));

// --- table of images ---

function drawImageTable() {
  const labels = Object.fromEntries(Object.entries(IMAGE_KEYS).map(([key, { label }]) => [key, label]));
  const head = sortableHeader(labels, state.sort, state.descending, (key) => {
    sortImages(key, state.sort === key && !state.descending);
    byId("images").querySelector(`[data-key="${key}"]`).focus();
  });
  byId("images").tHead.replaceChildren(head);
  byId("images").tBodies[0].replaceChildren(...state.order.map((i) => {
    const image = images[i];
    const link = make("a", { href: "#bench" }, image.name);
    link.addEventListener("click", () => selectNucleus(i, -1));
    const cells = Object.entries(IMAGE_KEYS).map(([key, { value }]) => {
      if (key === "name") return make("td", {}, link);
      return make("td", {}, key === "pixels" ? image.size.join(" × ") : show(value(image)));
    });
    return make("tr", {}, ...cells);
  }));
}

// --- order and filter ---

const _ends = [...document.querySelectorAll(".filters [data-key]")];

function _passes(image) {
  const part = byId("name-filter").value.trim().toLowerCase();
  const texts = [image.name, ...Object.values(image.metadata)];
  if (!texts.some((text) => text.toLowerCase().includes(part))) return false;
  if (byId("only-warnings").checked && !image.warning) return false;
  return _ends.every((input) => {
    if (input.value === "") return true;
    const value = IMAGE_KEYS[input.dataset.key].value(image), limit = Number(input.value);
    return input.dataset.end === "from" ? value >= limit : value <= limit;
  });
}

function orderImages() {
  const { value } = IMAGE_KEYS[state.sort];
  const keyed = images.filter(_passes).map((image) => [value(image), image.index]);
  state.order = keyed.sort((a, b) => compare(a[0], b[0], state.descending)).map(([, i]) => i);
  const hidden = images.length - state.order.length;
  byId("filtered").textContent = hidden ? `: ${show(state.order.length)} of ${show(images.length)}` : "";
}

function sortImages(key, descending) {
  state.sort = key;
  state.descending = descending;
  byId("sort").value = key;
  byId("direction").textContent = descending ? "↓" : "↑";
  drawAll();
}

// Everything that follows from threshold, order and filter.
function drawAll() {
  orderImages();
  drawTiles();
  drawViewer();
  listNuclei();
  drawGallery();
  drawPlots();
  drawImageTable();
}

// --- controls ---

let _waiting = false;
function drawSoon() {
  if (_waiting) return;
  _waiting = true;
  requestAnimationFrame(() => {
    _waiting = false;
    drawAll();
  });
}

function _step(by) {
  const place = state.order.indexOf(state.image);
  const next = state.order[place + by] ?? state.order[place < 0 ? 0 : place];
  if (next !== undefined) selectNucleus(next, -1);
}

function start() {
  const lowest = images.reduce((low, image) => image.scores.reduce((a, b) => Math.min(a, b), low), 1);
  const threshold = byId("threshold");
  threshold.min = threshold.value = state.threshold = Math.floor(lowest * 100) / 100;
  const showValue = () => { byId("threshold-value").textContent = state.threshold.toFixed(2); };
  threshold.addEventListener("input", () => {
    state.threshold = Number(threshold.value);
    showValue();
    drawSoon();
  });
  showValue();
  byId("outlines").addEventListener("change", (event) => {
    state.outlines = event.target.checked;
    drawViewer();
    drawGallery();
  });
  for (const [key, { label }] of Object.entries(IMAGE_KEYS)) byId("sort").append(make("option", { value: key }, label));
  byId("sort").addEventListener("change", (event) => sortImages(event.target.value, state.descending));
  byId("direction").addEventListener("click", () => sortImages(state.sort, !state.descending));
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  document.querySelector(".filters").addEventListener("input", drawSoon);
  byId("clear").addEventListener("click", () => {
    document.querySelectorAll(".filters input").forEach((input) => {
      input.value = "";
      input.checked = false;
    });
    drawAll();
  });
  byId("previous").addEventListener("click", () => _step(-1));
  byId("next").addEventListener("click", () => _step(1));
  images.filter((image) => image.thumbnail).forEach((image) => _cards.set(image.index, _makeCard(image)));
  orderImages();
  showImage(state.order[0]);
  drawAll();
}

start();
