"use strict";
// The table of nuclei: of one image or of all, sorted by any column, a page of rows at a time.

const ROWS = 100;
const _table = byId("nuclei");
const _list = { rows: [], page: 0, key: null, descending: false };

// Columns of all tables in the order of the first that has them; without a table the few numbers
// that every image has.
const _columns = [...new Set(images.flatMap((image) => Object.keys(image.columns ?? {})))];
const BASIC = { area: (image, i) => image.areas[i], score: (image, i) => image.scores[i] };

function cell(image, nucleus, column) {
  if (column === "image") return image.name;
  if (!image.columns) return BASIC[column]?.(image, nucleus) ?? null;
  return image.columns[column]?.[nucleus] ?? null;
}

const isOfAll = () => byId("scope").value === "all";

function _headers() {
  const names = _columns.length ? _columns : Object.keys(BASIC);
  return Object.fromEntries([...(isOfAll() ? ["image"] : []), ...names].map((name) => [name, name]));
}

// Choose the rows anew, after image, threshold, filter or order have changed.
function listNuclei() {
  const chosen = isOfAll() ? state.order.map((i) => images[i]) : [images[state.image]];
  const listed = chosen.filter((image) => image.columns || !_columns.length);
  _list.rows = listed.flatMap((image) => shownNuclei(image).map((nucleus) => [image, nucleus]));
  if (_list.key) {
    const keyed = _list.rows.map((row) => [cell(...row, _list.key), row]);
    keyed.sort((a, b) => compare(a[0], b[0], _list.descending));
    _list.rows = keyed.map(([, row]) => row);
  }
  const left = sum(chosen.map((image) => statistics(image).count)) - _list.rows.length;
  byId("nuclei-note").textContent = left ? `${many(left, "nucleus is", "nuclei are")} only in the csv files.` : "";
  _list.page = 0;
  _turnToSelected();
  drawNuclei();
}

const _isSelected = ([image, nucleus]) => image.index === state.image && nucleus === state.nucleus;

function _turnToSelected() {
  const place = _list.rows.findIndex(_isSelected);
  if (place >= 0) _list.page = Math.floor(place / ROWS);
}

function drawNuclei() {
  const headers = _headers();
  _table.tHead.replaceChildren(sortableHeader(headers, _list.key, _list.descending, _sortBy));
  const rows = _list.rows.slice(_list.page * ROWS, (_list.page + 1) * ROWS);
  const hasSelected = rows.some(_isSelected);
  _table.tBodies[0].replaceChildren(...rows.map((row, i) => {
    const selected = _isSelected(row);
    const focusable = selected || (!hasSelected && i === 0);
    const cells = Object.keys(headers).map((name) => make("td", {}, show(cell(...row, name))));
    const attributes = { "aria-selected": selected, tabindex: focusable ? 0 : -1, "data-row": i };
    return make("tr", attributes, ...cells);
  }));
  const first = _list.page * ROWS + 1, last = first + rows.length - 1;
  byId("page").textContent = rows.length ? `${show(first)}–${show(last)} of ${show(_list.rows.length)}` : "none";
  byId("page-before").disabled = !_list.page;
  byId("page-after").disabled = last >= _list.rows.length;
  _scrollToSelected();
}

// Only inside the table: the page itself stays where it is.
function _scrollToSelected() {
  const row = _table.querySelector("[aria-selected=true]");
  const frame = _table.parentElement;
  if (!row) {
    frame.scrollTop = 0;
    return;
  }
  const above = row.offsetTop - _table.tHead.offsetHeight;
  if (above < frame.scrollTop) frame.scrollTop = above;
  const below = row.offsetTop + row.offsetHeight - frame.clientHeight;
  if (below > frame.scrollTop) frame.scrollTop = below;
}

function _sortBy(key) {
  _list.descending = _list.key === key && !_list.descending;
  _list.key = key;
  listNuclei();
  _table.querySelector(`[data-key="${CSS.escape(key)}"]`).focus();
}

// Tie a nucleus to both its outline and its row.
function selectNucleus(index, nucleus) {
  const isOther = index !== state.image;
  showImage(index, nucleus);
  if (isOther && !isOfAll()) return listNuclei();
  _turnToSelected();
  drawNuclei();
  return undefined;
}

function _selectRow(place) {
  const row = _list.rows[Math.max(0, Math.min(place, _list.rows.length - 1))];
  if (!row) return;
  selectNucleus(row[0].index, row[1]);
  _table.querySelector("[aria-selected=true]").focus({ preventScroll: true });
}

_table.tBodies[0].addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (row) _selectRow(_list.page * ROWS + Number(row.dataset.row));
});

_table.tBodies[0].addEventListener("keydown", (event) => {
  const place = _list.page * ROWS + Number(event.target.closest("tr").dataset.row);
  const next = {
    ArrowDown: place + 1, ArrowUp: place - 1, PageDown: place + 10, PageUp: place - 10,
    Home: 0, End: _list.rows.length - 1, Enter: place, " ": place,
  }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  _selectRow(next);
});

function _turn(step) {
  _list.page += step;
  drawNuclei();
}
byId("page-before").addEventListener("click", () => _turn(-1));
byId("page-after").addEventListener("click", () => _turn(1));
byId("scope").addEventListener("change", listNuclei);
