const RANKS = ["", "value", "95 % interval", "p"], OVERLAP = ["highest", "in both", "share", "by chance"];
function table(caption, head, rows) {
  const line = (cells) => element("tr", {}, cells.map((text, at) => element(at ? "td" : "th", at ? {} : { scope: "row" }, [text])));
  return element("table", {}, [element("caption", {}, [caption]),
    element("thead", {}, [element("tr", {}, head.map((text) => text ? element("th", { scope: "col" }, [text]) : element("td")))]),
    element("tbody", {}, rows.map(line))]);
}
export function render({ model, el }) {
  const body = element("div", { class: "part" });
  function update() {
    const { ranks = [], overlap = [], title = "", help = "" } = model.data;
    body.replaceChildren(...(ranks.length ? [table(title, RANKS, ranks)] : []),
      ...(overlap.length ? [table("Overlap of the highest", OVERLAP, overlap)] : []), element("p", { class: "remark" }, [help]));
  }
  model.on("data", update);
  update();
  el.append(body);
}
