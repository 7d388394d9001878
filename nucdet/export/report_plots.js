"use strict";
// Distributions of a measurement, a row for each folder, well or treatment, all on one axis.

const MAX_GROUPS = 384; // as many as the wells of a large plate
const BINS = 48;
const PLOT = { width: 480, height: 44 };

// What can be plotted: areas and scores of all nuclei, numbers of the table where it is here.
const QUANTITIES = {
  area: { label: `area, ${settings.unit}`, values: (image, kept) => kept.map((i) => image.areas[i]) },
  score: { label: "score", values: (image, kept) => kept.map((i) => image.scores[i]) },
};
for (const name of _columns) {
  const isNumber = images.some((image) => image.columns?.[name]?.some((v) => typeof v === "number"));
  if (!isNumber || name === "id" || QUANTITIES[name.replace(/_(px|um2)$/, "")]) continue;
  const values = (image, kept) => kept.map((i) => image.columns?.[name]?.[i]);
  QUANTITIES[name] = { label: name, values };
}

// Images by folder or other key; the smallest of very many groups in one.
function groups(shown, key) {
  const byLabel = new Map();
  for (const image of shown) {
    const label = image.groups[key] || "(unknown)";
    if (!byLabel.has(label)) byLabel.set(label, []);
    byLabel.get(label).push(image);
  }
  const size = (members) => sum(members.map((image) => statistics(image).count));
  let found = [...byLabel].sort((a, b) => _collator.compare(a[0], b[0]));
  if (found.length > MAX_GROUPS) {
    const bySize = [...found].sort((a, b) => size(b[1]) - size(a[1]));
    const large = new Set(bySize.slice(0, MAX_GROUPS - 1));
    const rest = found.filter((group) => !large.has(group));
    found = found.filter((group) => large.has(group));
    found.push([`${rest.length} others`, rest.flatMap((group) => group[1])]);
  }
  return found.length > 1 ? [["all", shown], ...found] : [["all", shown]];
}

// Edges of the axis: all values but the extreme 0.5 % at either end, from 0 where that is near.
function axis(sorted) {
  const high = quantile(sorted, 0.995);
  let low = quantile(sorted, 0.005);
  if (low >= 0 && low < high / 2) low = 0;
  return high > low ? [low, high] : [low - 0.5, low + 0.5];
}

// How many values fall into each bin; those beyond the edges count in the first and last.
function binned(values, [low, high]) {
  const counts = new Array(BINS).fill(0);
  for (const value of values) {
    const bin = Math.floor(((value - low) / (high - low)) * BINS);
    counts[Math.min(BINS - 1, Math.max(0, bin))] += 1;
  }
  return counts;
}

function _histogram(sorted, edges, label) {
  const counts = binned(sorted, edges), most = Math.max(...counts), step = PLOT.width / BINS;
  const bars = counts.map((count, i) => {
    const height = count ? Math.max(1, (count / most) * PLOT.height) : 0;
    return `M${i * step} ${PLOT.height}v${-height}h${step - 1}v${height}z`;
  });
  const share = (quantile(sorted, 0.5) - edges[0]) / (edges[1] - edges[0]);
  const middle = Math.min(1, Math.max(0, share)) * PLOT.width;
  return make("svg", { viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, role: "img", "aria-label": label },
    make("path", { class: "bars", d: bars.join("") }),
    make("path", { class: "median", d: `M${middle} 0V${PLOT.height}` }));
}

function drawPlots() {
  const quantity = QUANTITIES[byId("quantity").value];
  const key = byId("group-by").value;
  const rows = groups(state.order.map((i) => images[i]), key).map(([label, members]) => {
    const values = members.flatMap((image) => quantity.values(image, shownNuclei(image)));
    const numbers = values.filter((value) => typeof value === "number");
    return { label, members, sorted: Float64Array.from(numbers).sort() };
  });
  const edges = axis(rows[0].sorted);
  const head = [key, "Images", "Nuclei", "Per image", "Median", "Middle half"].map((text) => make("th", { scope: "col" }, text));
  const ends = make("div", { class: "ends" }, make("span", {}, show(edges[0])), quantity.label, make("span", {}, show(edges[1])));
  byId("groups").tHead.replaceChildren(make("tr", {}, ...head, make("th", { scope: "col" }, ends)));
  byId("groups").tBodies[0].replaceChildren(...rows.map(({ label, members, sorted }) => {
    const half = `${show(quantile(sorted, 0.25))}–${show(quantile(sorted, 0.75))}`;
    const count = sum(members.map((image) => statistics(image).count));
    const texts = [show(members.length), show(count), show(count / members.length), show(quantile(sorted, 0.5)), sorted.length ? half : "–"];
    const plot = sorted.length ? _histogram(sorted, edges, `Histogram of ${quantity.label}, ${label}`) : "";
    return make("tr", {}, make("th", { scope: "row" }, label), ...texts.map((text) => make("td", {}, text)), make("td", { class: "plot" }, plot));
  }));
}

for (const [name, { label }] of Object.entries(QUANTITIES)) byId("quantity").append(make("option", { value: name }, label));
for (const key of new Set([...METADATA, "folder"])) byId("group-by").append(make("option", { value: key }, key));
for (const id of ["quantity", "group-by"]) byId(id).addEventListener("change", drawPlots);
