const HEADS = [["class", "class"], ["above", "above"], ["samples", "of"], ["share", "share"]];
const number = (value) => value.toLocaleString("en");
const percent = (value) => value === null ? "–" : `${(100 * value).toFixed(value > 0 && value < 0.01 ? 2 : 1)} %`;
const interval = (low, high) => low === null ? "–" : `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)} %`;

function make(tag, text, cls) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (cls) element.className = cls;
  return element;
}
function table(caption, heads) {
  const element = make("table"), head = make("tr"), body = make("tbody"), top = make("thead");
  element.append(make("caption", caption), top, body);
  top.append(head);
  for (const text of heads) { const cell = make("th", text); cell.scope = "col"; head.append(cell); }
  return { element, head, body };
}
// Rows are reused by place: only what changed is written, and the focus stays.
function fill(body, rows, create, write) {
  while (body.rows.length > rows.length) body.deleteRow(-1);
  while (body.rows.length < rows.length) body.append(create());
  rows.forEach((row, index) => write(body.rows[index], row));
}
function put(cell, text) { if (cell.textContent !== text) cell.textContent = text; }
function measures(row, first, [above, samples, share, low, high]) {
  put(row.cells[first], number(above));
  put(row.cells[first + 1], number(samples));
  put(row.cells[first + 2], percent(share));
  put(row.cells[first + 3], interval(low, high));
}

export function render({ model }) {
  const home = make("div", undefined, "shares");
  const parts = table("Above the threshold, by partition", ["partition", "above", "of", "share", "95 % interval"]);
  const classes = table("By class, in the shown partitions", []);
  const scroll = make("div", undefined, "scroll"), note = make("p"), more = make("button");
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "Share above the threshold by class");
  more.type = "button";
  scroll.append(classes.element);
  const wide = make("div", undefined, "wide");
  wide.append(parts.element);
  home.append(wide, scroll, note, more);

  const heads = HEADS.map(([key, text]) => {
    const cell = make("th"), button = make("button", text, "sort");
    cell.scope = "col"; button.type = "button";
    button.addEventListener("click", () => {
      model.order = [key, model.order[0] === key ? !model.order[1] : key === "class"];
    });
    cell.append(button);
    classes.head.append(cell);
    return [key, cell, button, text];
  });
  classes.head.append(make("th", "95 % interval"));
  more.addEventListener("click", () => { model.count = model.count + 50; });

  function sorted() {
    for (const [key, cell, button, text] of heads) {
      const on = model.order[0] === key;
      cell.setAttribute("aria-sort", on ? (model.order[1] ? "ascending" : "descending") : "none");
      put(button, on ? `${text} ${model.order[1] ? "▲" : "▼"}` : text);
    }
  }
  function showParts() {
    fill(parts.body, model.partitions, () => {
      const row = make("tr"), name = make("th");
      name.scope = "row";
      name.append(make("span", undefined, "swatch"), make("span"));
      row.append(name, make("td"), make("td"), make("td"), make("td"));
      return row;
    }, (row, [name, colour, ...rest]) => {
      row.cells[0].firstChild.style.background = colour;
      put(row.cells[0].lastChild, name);
      measures(row, 1, rest);
    });
  }
  function showClasses() {
    fill(classes.body, model.classes, () => {
      const row = make("tr"), name = make("th"), button = make("button", "", "class");
      name.scope = "row"; button.type = "button";
      button.addEventListener("click", () => { model.send_msg({ toggle: button.textContent }); });
      name.append(button);
      row.append(name, make("td"), make("td"), make("td", "", "bar"), make("td"));
      return row;
    }, (row, [name, chosen, ...rest]) => {
      const button = row.cells[0].firstChild;
      put(button, name);
      button.title = chosen ? `${name}: shown; click for no longer` : `Show only ${name}, beside what is chosen`;
      button.setAttribute("aria-pressed", chosen);
      measures(row, 1, rest);
      row.cells[3].style.backgroundSize = `${100 * (rest[2] || 0)}% 100%`;
    });
    const sent = model.classes.length, left = model.total - sent;
    scroll.hidden = !sent;
    put(note, sent ? (left > 0 ? `${number(sent)} of ${number(model.total)} classes` : "") : model.text);
    more.hidden = left <= 0;
    more.textContent = `Show ${Math.min(50, left)} more`;
  }
  model.on("partitions", showParts);
  for (const name of ["classes", "total", "text"]) model.on(name, showClasses);
  model.on("order", sorted);
  sorted(); showParts(); showClasses();
  return home;
}
