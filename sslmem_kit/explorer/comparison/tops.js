export function render({ model, el }) {
  const body = element("div", { class: "part sides" });
  function sample(one) {
    const lines = [`${one.id}: ${one.name}`, one.value].map((text) => element("span", {}, [text]));
    if (one.both) lines.push(element("span", { class: "mark" }, ["in both"]));
    const button = element("button", { type: "button", "data-id": one.id, class: one.both ? "both" : "" },
      [element("img", { src: one.picture, alt: "" }), ...lines]);
    button.setAttribute("aria-label", `sample ${one.id}, ${one.name}, ${one.value}${one.both ? ", among the highest of both sides" : ""}`);
    button.disabled = !model.data.opens;
    button.addEventListener("click", () => model.send_msg({ id: one.id }));
    return element("li", {}, [button]);
  }
  function mark() {
    for (const button of body.querySelectorAll("button")) button.setAttribute("aria-current", Number(button.dataset.id) === model.current);
  }
  function update() {
    body.replaceChildren(...(model.data.sides ?? []).map(({ title, samples }) =>
      element("section", { "aria-label": title }, [element("h3", {}, [title]), element("ul", {}, samples.map(sample))])));
    mark();
  }
  model.on("data", update);
  model.on("current", mark);
  update();
  el.append(body);
}
