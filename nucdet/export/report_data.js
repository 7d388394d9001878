"use strict";
// The images of the page, what is chosen of them, and their numbers above the threshold.

const settings = JSON.parse(document.getElementById("settings").textContent);
const images = [...document.querySelectorAll("script.image")].map((element, index) => {
  const image = { ...JSON.parse(element.textContent), index };
  element.remove();
  const folder = image.name.includes("/") ? image.name.slice(0, image.name.lastIndexOf("/")) : "";
  image.groups = { folder: folder || "(no folder)", ...image.metadata };
  return image;
});

// image and nucleus are indices, nucleus within its image (-1: none); order is of indices of
// images, sorted and filtered
const state = {
  threshold: 0, outlines: true, image: 0, nucleus: -1,
  sort: "name", descending: false, order: images.map((image) => image.index),
};

const byId = (id) => document.getElementById(id);

// An element with attributes and children; texts become text, so that no name can be markup.
function make(tag, attributes = {}, ...children) {
  const namespace = ["svg", "path", "image"].includes(tag)
    ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const element = document.createElementNS(namespace, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const _number = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const _whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

// A cell's text: four significant digits, whole numbers in full, a dash for nothing.
function show(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (typeof value !== "number") return String(value);
  return Math.abs(value) >= 1000 ? _whole.format(value) : _number.format(value);
}

const many = (count, one, several) => `${_whole.format(count)} ${count === 1 ? one : several}`;

const isShown = (image, nucleus) => image.scores[nucleus] >= state.threshold;

// Indices of the nuclei of an image that the threshold leaves.
function shownNuclei(image) {
  const kept = [];
  for (let i = 0; i < image.scores.length; i++) if (isShown(image, i)) kept.push(i);
  return kept;
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

// The value below which a share of sorted values lies, between two by linear interpolation.
function quantile(sorted, share) {
  const place = (sorted.length - 1) * share, low = Math.floor(place);
  if (!sorted.length) return NaN;
  const above = sorted[Math.min(low + 1, sorted.length - 1)];
  return sorted[low] + (place - low) * (above - sorted[low]);
}

// Count, mean area, mean score … of an image's nuclei above the threshold; kept until it changes.
function statistics(image) {
  if (image.statistics?.threshold !== state.threshold) {
    const kept = shownNuclei(image);
    const area = sum(kept.map((i) => image.areas[i]));
    image.statistics = {
      threshold: state.threshold,
      count: kept.length,
      meanArea: area / kept.length,
      meanScore: sum(kept.map((i) => image.scores[i])) / kept.length,
      covered: (100 * area) / (image.size[0] * image.size[1] * image.pixelArea),
    };
  }
  return image.statistics;
}

// Names of what is known of the images besides; the same for all.
const METADATA = Object.keys(images[0]?.metadata ?? {});

// What images are sorted and filtered by, and columns of their table.
const IMAGE_KEYS = {
  name: { label: "Image", value: (image) => image.name },
  pixels: { label: "Pixels", value: (image) => image.size[0] * image.size[1] },
  count: { label: "Nuclei", value: (image) => statistics(image).count },
  meanArea: { label: `Mean area, ${settings.unit}`, value: (image) => statistics(image).meanArea },
  covered: { label: "Covered, %", value: (image) => statistics(image).covered },
  meanScore: { label: "Mean score", value: (image) => statistics(image).meanScore },
  ...Object.fromEntries(METADATA.map((name) => [`metadata ${name}`, { label: name, value: (image) => image.metadata[name] }])),
  warning: { label: "Warning", value: (image) => image.warning || "" },
};

// For sort(): numbers by size, texts by alphabet with numbers in them by size, nothing last.
const _collator = new Intl.Collator("en", { numeric: true });
function compare(a, b, descending) {
  const missing = (value) => value === null || value === undefined || value === "" || Number.isNaN(value);
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const order = typeof a === "number" && typeof b === "number" ? a - b : _collator.compare(a, b);
  return descending ? -order : order;
}

// A table's header of buttons that sort; key is what it is sorted by.
function sortableHeader(labels, key, descending, choose) {
  const cells = Object.entries(labels).map(([name, label]) => {
    const isKey = name === key;
    const arrow = isKey ? (descending ? " ↓" : " ↑") : "";
    const button = make("button", { type: "button", "data-key": name }, label + arrow);
    button.addEventListener("click", () => choose(name));
    const sorted = isKey ? (descending ? "descending" : "ascending") : "none";
    return make("th", { scope: "col", "aria-sort": sorted }, button);
  });
  return make("tr", {}, ...cells);
}

// Draw the outlines of an image into an <svg>: one dark path under a bright one for each color.
function drawOutlines(svg, image) {
  svg.querySelectorAll(".outline").forEach((path) => path.remove());
  if (!state.outlines || !image.outlines) return;
  const byColor = settings.palette.map(() => []);
  for (const i of shownNuclei(image)) byColor[image.colors[i]].push(image.outlines[i]);
  const dark = make("path", { class: "outline dark", d: byColor.flat().join("") });
  const bright = byColor.map((paths, i) =>
    paths.length ? make("path", { class: "outline", stroke: settings.palette[i], d: paths.join("") }) : "");
  svg.prepend(dark, ...bright);
  // the image, where it stands in the same svg, stays at the bottom
  svg.querySelectorAll("image").forEach((element) => svg.prepend(element));
}

// The size of an image's outlines in their units.
const outlineSize = (image) => image.thumbnailSize.map((length) => length * settings.grid);
