export function render({ model, view, el }) {
  ownKeys(view);
  const root = make("section", "gallery");
  root.setAttribute("aria-label", "Gallery");
  const summary = make("p", "summary");
  summary.setAttribute("role", "status");

  const bar = make("div", "bar");
  const label = make("label", "", "Sort by ");
  const sort = make("select");
  label.append(sort);
  const ascending = button("toggle", "lowest first");
  const place = make("span", "place");
  const previous = button("turn", "previous", "previous page");
  const next = button("turn", "next", "next page");
  bar.append(label, ascending, place, previous, next);

  const grid = make("ul", "grid");
  grid.setAttribute("role", "list");
  root.append(summary, bar, grid);
  let at = 0; // which item Tab goes to
  const buttons = () => [...grid.querySelectorAll("button")];
  const refresh = pictures(model, () => [...grid.querySelectorAll("img")]);

  const create = () => {
    const item = make("li"), open = button("item"), image = make("img");
    image.alt = "";
    sized(image);
    open.dataset.opensDetail = "";
    open.append(image, make("span", "id"), make("span", "file"), make("span", "class"), make("span", "score"), make("span", "interval"), make("span", "also"));
    const partition = make("span", "partition");
    partition.append(make("i", "swatch"), make("span", "word"));
    open.append(partition);
    item.append(open);
    return item;
  };
  const fill = (element, item, index) => {
    const open = element.firstChild, find = (name) => open.querySelector(`.${name}`);
    open.dataset.sample = item.id;
    open.querySelector("img").dataset.sample = item.id;
    open.tabIndex = index === at ? 0 : -1;
    for (const name of ["file", "class", "score", "interval", "also"]) find(name).textContent = item[name];
    find("id").textContent = `#${item.id}`;
    find("file").title = item.file;
    find("word").textContent = item.partition;
    find("swatch").dataset.partition = item.partition;
    find("interval").title = item.title;
    open.setAttribute("aria-label", [`sample ${item.id}`, item.file && `file ${item.file}`, `class ${item.class}`, item.partition, `score ${item.score}`, item.title, item.also].filter(Boolean).join(", "));
    if (item.id === model.current) open.setAttribute("aria-current", "true"); else open.removeAttribute("aria-current");
  };
  const draw = () => {
    at = Math.min(at, Math.max(0, model.items.length - 1));
    follow(grid, model.items, create, fill);
    refresh();
  };
  const describe = () => {
    summary.textContent = model.summary;
    const last = model.first + model.items.length;
    place.textContent = model.total ? `${(model.first + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${model.total.toLocaleString("en")}` : "";
    // aria-disabled and not disabled, which would drop the focus on the last page.
    previous.setAttribute("aria-disabled", String(model.first === 0));
    next.setAttribute("aria-disabled", String(last >= model.total));
    bar.hidden = !model.total;
  };
  const offer = () => {
    follow(sort, model.orders, () => make("option"), (option, [key, text]) => { option.value = key; option.textContent = text; });
    sort.value = model.sort;
    ascending.setAttribute("aria-pressed", String(model.ascending));
  };
  const go = (index) => {
    const all = buttons();
    at = Math.max(0, Math.min(index, all.length - 1));
    all.forEach((each, position) => { each.tabIndex = position === at ? 0 : -1; });
    all[at]?.focus();
  };
  const mark = () => {
    draw();
    const index = model.items.findIndex((item) => item.id === model.current);
    if (index >= 0) { at = index; draw(); }
  };

  let opened = model.current;
  model.on("current", () => {
    const before = opened;
    opened = model.current;
    mark();
    // The detail that had the focus goes, now or a moment later: back to where it was opened from.
    if (opened === null && before !== null) giveBack(before, 20);
  });
  const giveBack = (id, tries) => {
    const index = model.items.findIndex((item) => item.id === id), holder = focused();
    if (index < 0 || model.current !== null) return;
    if (!holder || holder === document.body) go(index); else if (tries) setTimeout(giveBack, 50, id, tries - 1);
  };
  model.on(["items", "source"], mark);
  model.on(["summary", "first", "total", "items"], describe);
  model.on(["orders", "sort", "ascending"], offer);

  sort.addEventListener("change", () => model.send_msg({ sort: sort.value }));
  ascending.addEventListener("click", () => model.send_msg({ ascending: !model.ascending }));
  for (const [turn, by] of [[previous, -1], [next, 1]])
    turn.addEventListener("click", () => { if (turn.getAttribute("aria-disabled") === "false") { at = 0; model.send_msg({ turn: by }); } });
  grid.addEventListener("click", (event) => {
    const open = event.target.closest("button");
    if (!open) return;
    go(buttons().indexOf(open));
    model.send_msg({ open: Number(open.dataset.sample) });
  });
  root.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && model.current !== null) {
      model.send_msg({ open: null });
      event.stopPropagation();
      return;
    }
    const all = buttons(), from = all.indexOf(event.target);
    if (from < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const top = all[0].offsetTop, across = Math.max(1, all.filter((each) => each.offsetTop === top).length);
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across, Home: -from, End: all.length };
    if (!(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation();
    const to = from + steps[event.key];
    if (to >= 0 && (to < all.length || event.key === "End")) go(to);
  });

  offer();
  mark();
  describe();
  return root;
}
