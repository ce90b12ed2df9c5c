const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 360, HEIGHT = 210, LEFT = 48, RIGHT = 46, TOP = 12, BOTTOM = 40;

function draw(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function ticks(low, high) {
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) found.push([value, value.toFixed(digits)]);
  return found;
}

// Lines with axes; solid for f, dashed for g, so that colour is not needed to distinguish them.
function lines(chart, colours) {
  const values = chart.series.flatMap((line) => line.y).filter((value) => value !== null);
  let low = Math.min(...values), high = Math.max(...values);
  const room = (high - low || 0.1) * 0.08;
  low -= room; high += room;
  const first = chart.x[0], last = chart.x[chart.x.length - 1];
  const x = (value) => LEFT + (last > first ? (value - first) / (last - first) : 0.5) * (WIDTH - LEFT - RIGHT);
  const y = (value) => TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM);
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
  for (const [value, text] of ticks(low, high)) {
    svg.append(draw("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "rule" }));
    svg.append(draw("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, text));
  }
  const every = Math.ceil(chart.x.length / 6);
  chart.x.forEach((value, index) => {
    if (index % every) return;
    svg.append(draw("text", { x: x(value), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, chart.x_names[index].slice(0, 10)));
  });
  svg.append(draw("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, chart.x_label));
  svg.append(draw("text", { x: -(TOP + HEIGHT - BOTTOM) / 2, y: 12, transform: "rotate(-90)", "text-anchor": "middle" }, "alignment"));
  let under = -Infinity;
  const ends = chart.series.map((line) => [line, line.y.findLastIndex((value) => value !== null)]).sort(([a, i], [b, j]) => b.y[j] - a.y[i]);
  for (const [line, end] of ends) {
    const colour = colours[line.family] || "var(--sm-ink)";
    const path = line.y.map((value, index) => value === null ? "" : `${index && line.y[index - 1] !== null ? "L" : "M"}${x(chart.x[index])},${y(value)}`).join("");
    svg.append(draw("path", { d: path, fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": line.family === "g" ? "5 3" : "none" }));
    line.y.forEach((value, index) => { if (value !== null) svg.append(draw("circle", { cx: x(chart.x[index]), cy: y(value), r: 2.5, fill: colour })); });
    // Names at the ends of the lines, one below the other.
    under = Math.max(under + 12, y(line.y[end]) + 4);
    svg.append(draw("text", { x: WIDTH - RIGHT + 6, y: under }, line.name.slice(0, 7)));
  }
  svg.setAttribute("aria-label", `${chart.title}: ` + chart.series.map((line) => {
    const known = line.y.filter((value) => value !== null);
    return `${line.name} from ${known[0]} to ${known[known.length - 1]}`;
  }).join("; ") + ". The numbers stand in the table below.");
  return svg;
}

function table(caption, heads, rows) {
  const element = make("table"), head = make("tr"), body = make("tbody"), top = make("thead");
  element.append(make("caption", "", caption), top, body);
  top.append(head);
  for (const text of heads) { const cell = make("th", "", text); cell.scope = "col"; head.append(cell); }
  for (const row of rows) {
    const line = make("tr");
    row.forEach((value, index) => {
      const cell = make(index ? "td" : "th");
      if (!index) cell.scope = "row";
      cell.append(value);
      line.append(cell);
    });
    body.append(line);
  }
  return element;
}

function dot(encoder, low, high, colour) {
  const track = make("span", "track"), mark = make("span", "dot");
  track.setAttribute("aria-hidden", "true");
  mark.style.left = `${100 * (high > low ? (encoder.value - low) / (high - low) : 0.5)}%`;
  mark.style.borderColor = colour;
  if (encoder.trained_on) mark.style.background = colour;
  track.append(mark);
  return track;
}

function figure(uri, name, text) {
  const element = make("figure"), image = make("img");
  image.alt = name;
  sized(image);
  image.src = uri;
  element.append(image, make("figcaption", "", name));
  if (text) element.append(make("figcaption", "far", text));
  return element;
}

function part(title, ...content) {
  const section = make("section", "part");
  section.append(make("h4", "", title), ...content);
  return section;
}

export function render({ model, view, el }) {
  ownKeys(view);
  const root = make("section", "detail");
  root.setAttribute("aria-label", "Detail of a sample");
  const message = make("p", "message");
  message.setAttribute("role", "status");
  const head = make("header"), title = make("h3"), body = make("div", "body");
  title.tabIndex = -1;
  const previous = button("step", "previous", "previous sample in the order of the gallery");
  const next = button("step", "next", "next sample in the order of the gallery");
  const close = button("close", "close", "close the detail");
  head.append(title, previous, next, close);
  const near = make("section", "part near"), choice = make("select"), listed = make("ul", "neighbours"), note = make("p", "note");
  const label = make("label", "", "under encoder ");
  label.append(choice);
  near.append(make("h4", "", "Nearest neighbours"), label, listed, note);
  root.append(message, head, body, near);
  const refresh = pictures(model, () => [...listed.querySelectorAll("img")]);

  const shown = () => {
    const record = model.record;
    head.hidden = body.hidden = near.hidden = record === null;
    if (record === null) { body.replaceChildren(); return; }
    title.textContent = `Sample ${record.id}`;
    const clean = figure(record.picture, "clean image", record.size);
    clean.className = "clean";

    const facts = make("dl");
    for (const [name, value, why] of [...(record.file ? [["file", record.file, ""]] : []), ["class", record.class, ""], ["partition", record.partition, ""], ...record.facts]) {
      const text = make("dd", "", value);
      if (name === "partition") { const swatch = make("i", "swatch"); swatch.style.background = model.colours[value]; text.prepend(swatch); }
      if (why) text.title = why;
      facts.append(make("dt", "", name), text);
    }
    const about = make("div", "about");
    about.append(clean, facts);
    const parts = [about];

    const strip = make("div", "strip");
    strip.append(...record.views.slice(1).map((each) => figure(each.picture, each.name, each.distances)));
    parts.push(part("Views that were scored", record.views_note ? make("p", "note", record.views_note) : strip));
    if (!record.views_note) parts[1].append(make("p", "note", "Below each view: its mean distance to the clean image, by family."));

    const values = record.encoders.map((each) => each.value);
    const low = Math.min(...values), high = Math.max(...values);
    const rows = record.encoders.map((each) => {
      const name = make("span", each.counted ? "" : "muted", each.counted ? each.id : `${each.id} (left out)`);
      return [name, each.trained_on ? "yes" : "no", each.text, dot(each, low, high, model.colours[each.family] || "var(--sm-ink)")];
    });
    const encoders = table(`Mean distance of views, protocol ${record.protocol}; a filled dot: trained on this sample`, ["encoder", "trained on it", "alignment", ""], rows);
    encoders.className = "encoders";
    parts.push(part("Alignment by encoder", encoders));

    for (const chart of record.charts) {
      const numbers = make("details");
      numbers.append(make("summary", "", "numbers"));
      numbers.append(table(`${chart.title}, alignment`, [chart.x_label, ...chart.series.map((line) => line.name)],
        chart.x_names.map((name, index) => [name, ...chart.series.map((line) => line.y[index] === null ? "–" : line.y[index].toFixed(4))])));
      parts.push(part(chart.title, lines(chart, model.colours), numbers));
    }
    body.replaceChildren(...parts);
  };

  const neighbours = () => {
    const names = model.record?.neighbour_encoders ?? [];
    follow(choice, names, () => make("option"), (option, name) => { option.value = option.textContent = name; });
    choice.value = model.encoder;
    label.hidden = !names.length;
    note.textContent = names.length ? "" : model.record?.neighbours_note ?? "";
    follow(listed, model.neighbours, () => {
      const item = make("li"), go = button("neighbour"), image = make("img");
      image.alt = "";
      sized(image);
      go.append(image, ...["id", "distance", "class", "seen"].map((name) => make("span", name)));
      item.append(go);
      return item;
    }, (item, each) => {
      const go = item.firstChild, find = (name) => go.querySelector(`.${name}`);
      go.dataset.sample = go.querySelector("img").dataset.sample = each.id;
      find("id").textContent = `#${each.id}`;
      find("distance").textContent = each.distance;
      find("class").textContent = each.same ? "✓ same class" : each.class;
      find("seen").textContent = each.trained_on ? "trained on" : "not trained on";
      go.classList.toggle("same", each.same);
      go.setAttribute("aria-label", `sample ${each.id}, distance ${each.distance}, class ${each.class}${each.same ? ", the same" : ""}, ${each.trained_on ? "" : "not "}trained on`);
    });
    refresh();
  };
  const say = () => { message.textContent = model.message; message.hidden = !model.message; };

  let before = model.record?.id ?? null;
  model.on("record", () => {
    // Opened from the gallery: whoever works without a mouse continues to read here.
    const from = focused(), now = model.record?.id ?? null, inside = root.contains(from);
    if (inside && now === null) from.blur();
    shown();
    if (now !== null && now !== before && (from?.dataset?.opensDetail !== undefined || (inside && from.closest(".near")))) title.focus();
    before = now;
  });
  model.on(["record", "neighbours", "encoder", "source"], neighbours);
  model.on("message", say);

  choice.addEventListener("change", () => model.send_msg({ encoder: choice.value }));
  listed.addEventListener("click", (event) => {
    const go = event.target.closest("button");
    if (go) model.send_msg({ open: Number(go.dataset.sample) });
  });
  previous.addEventListener("click", () => model.send_msg({ step: -1 }));
  next.addEventListener("click", () => model.send_msg({ step: 1 }));
  close.addEventListener("click", () => model.send_msg({ open: null }));
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || model.record === null) return;
    event.stopPropagation();
    model.send_msg({ open: null });
  });

  shown();
  neighbours();
  say();
  return root;
}
