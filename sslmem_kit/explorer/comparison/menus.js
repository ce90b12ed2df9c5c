export function render({ model, el }) {
  const menus = {}, row = element("div", { class: "menus" });
  for (const [side, title] of [["left", "Left"], ["right", "Right"]]) {
    menus[side] = element("select", { "aria-label": title });
    menus[side].addEventListener("change", () => model.send_msg({ [side]: menus[side].value }));
    row.append(element("label", {}, [title, menus[side]]));
  }
  const remarks = element("p", { class: "remark", role: "status" }), problem = element("p", { class: "problem", role: "status" });
  let offered = "";
  function update() {
    const { groups = [], busy = false } = model.data;
    const offers = JSON.stringify(groups);
    if (offers !== offered) {
      offered = offers;
      for (const menu of Object.values(menus)) menu.replaceChildren(...groups.map((group) => element("optgroup", { label: group.study },
        group.sides.map(([value, label]) => element("option", { value }, [label])))));
    }
    for (const [side, menu] of Object.entries(menus)) menu.value = model.data[side] ?? "";
    row.hidden = !groups.length;
    remarks.textContent = busy ? "Computing the agreement …" : model.data.remarks ?? "";
    problem.textContent = model.data.problem ?? "";
  }
  model.on("data", update);
  update();
  el.append(element("div", { class: "part" }, [row, remarks, problem]));
}
