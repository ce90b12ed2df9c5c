const WAIT = 100, GIVE_UP = 2000;  // ms between two moves; after which an answer is no longer waited for

export function render({ model }) {
  const home = document.createElement("div");
  home.className = "threshold";
  const choice = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.textContent = "Threshold by";
  const label = document.createElement("label");
  const slider = document.createElement("input");
  const field = document.createElement("input");
  const summary = document.createElement("output");
  slider.type = "range"; field.type = "number"; field.step = "any";
  slider.id = "slider"; label.htmlFor = "slider";
  const row = document.createElement("div");
  row.className = "row";
  row.append(slider, field);
  home.append(choice, label, row, summary);

  // While it is dragged, the slider sends its latest place, and the next one only when the server is done with that.
  let next = null, sent = 0, last = 0, timer = null, held = false;
  const busy = () => sent > model.seen && Date.now() - last < GIVE_UP;
  function flush() {
    timer = null;
    if (next === null) return;
    const rest = last + WAIT - Date.now();
    if (rest > 0 || busy()) { timer = setTimeout(flush, Math.max(rest, 20)); return; }
    last = Date.now(); sent += 1;
    const value = next;
    next = null;
    model.moved = [model.by, value, sent];
  }
  function move(value) {
    if (!Number.isFinite(value)) return;
    next = value;
    if (timer === null) flush();
  }
  slider.addEventListener("input", () => { field.value = slider.value; move(slider.valueAsNumber); });
  let typing = false;  // a number that is not finished: an answer that comes late does not replace it
  field.addEventListener("input", () => { typing = true; });
  const typed = () => {
    typing = false;
    if (Number.isFinite(field.valueAsNumber)) { slider.value = field.value; move(field.valueAsNumber); } else place();
  };
  field.addEventListener("change", typed);
  // In JupyterLab the change event comes only when the field loses the focus.
  field.addEventListener("keydown", (event) => { if (event.key === "Enter") typed(); });
  slider.addEventListener("pointerdown", () => { held = true; });
  for (const name of ["pointerup", "pointercancel"]) slider.addEventListener(name, () => { held = false; });

  function place() {
    if (held || next !== null || busy()) return;
    const text = String(Number(model.value.toPrecision(6)));
    slider.value = text;
    if (typing) return;
    if (field !== field.getRootNode().activeElement || field.valueAsNumber !== Number(text)) field.value = text;
  }
  function summarize() {
    summary.textContent = model.text;
    slider.setAttribute("aria-valuetext", model.text);
  }
  function scale() {
    for (const input of [slider, field]) { input.disabled = !model.active; }
    slider.min = model.low; slider.max = model.high; slider.step = model.step;
    const unit = model.units.find(([key]) => key === model.by);
    label.textContent = unit ? `Threshold: ${unit[1]}` : "Threshold";
    field.setAttribute("aria-label", label.textContent);
    for (const radio of choice.querySelectorAll("input")) radio.checked = radio.value === model.by;
    place();
  }
  function offer() {
    choice.replaceChildren(legend, ...model.units.map(([key, name]) => {
      const text = document.createElement("label"), radio = document.createElement("input");
      radio.type = "radio"; radio.name = "by"; radio.value = key;
      radio.addEventListener("change", () => { next = null; model.chosen = key; });
      text.append(radio, document.createTextNode(name));
      return text;
    }));
    scale();
  }
  model.on("units", offer);
  for (const name of ["low", "high", "step", "by", "active"]) model.on(name, scale);
  model.on("value", place);
  model.on("seen", () => { if (next === null) place(); else if (timer === null) flush(); });
  model.on("text", summarize);
  offer(); summarize();
  return home;
}
