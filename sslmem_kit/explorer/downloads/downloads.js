function make(tag, text, cls) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (cls) element.className = cls;
  return element;
}

export function render({ model }) {
  const home = make("div", undefined, "takeaway"), what = make("p", "", "what"), status = make("p", "", "status"), groups = make("div");
  status.setAttribute("role", "status");
  const row = make("div", undefined, "row"), label = make("label", "Link to this view"), link = make("input"), copy = make("button", "Copy");
  link.type = "text"; link.readOnly = true; link.id = "link"; label.htmlFor = "link"; copy.type = "button";
  copy.setAttribute("aria-label", "Copy the link");
  row.append(link, copy);
  home.append(what, groups, status, label, row);

  let running = null;  // { id, name, pieces, size }
  function ask(item) {
    running = { id: `${Date.now()}-${Math.random()}`, name: item.name, pieces: [], size: 0 };
    status.textContent = `Preparing ${item.name} …`;
    enable();
    model.send_msg({ get: item.key, id: running.id });
  }
  function done(text) { running = null; status.textContent = text; enable(); }
  model.on("msg:custom", (sent) => {
    if (!running || sent.id !== running.id) return;
    if (sent.error) return done(sent.error);
    if (sent.piece) {
      running.pieces.push(sent.piece);
      running.size += sent.piece.byteLength;
      status.textContent = `Receiving ${running.name}: ${(running.size / 1e6).toFixed(1)} MB`;
      model.send_msg({ more: true, id: running.id });
      return;
    }
    const address = URL.createObjectURL(new Blob(running.pieces, { type: sent.type })), anchor = make("a");
    anchor.href = address; anchor.download = running.name;
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
    done(`Saved ${running.name}, ${(running.size / 1e6).toFixed(running.size < 1e5 ? 3 : 1)} MB`);
  });

  let buttons = [];
  function enable() {
    // Not `disabled`, which would take the focus away from the button that was just pressed.
    for (const [button, item] of buttons) button.setAttribute("aria-disabled", Boolean(running) || !item.ready);
  }
  function offer() {
    if (buttons.length === model.items.length) {
      model.items.forEach((item, index) => { buttons[index][1] = item; });
    } else {
      buttons = [];
      groups.replaceChildren();
      let group = null, line = null;
      for (const item of model.items) {
        if (item.group !== group) {
          group = item.group;
          line = make("div", undefined, "row");
          line.setAttribute("role", "group");
          line.setAttribute("aria-label", group);
          line.append(make("span", group, "group"));
          groups.append(line);
        }
        const button = make("button", item.text), entry = [button, item];
        button.type = "button";
        button.setAttribute("aria-label", `${item.group}, ${item.text}: download`);
        button.title = item.title;
        button.addEventListener("click", () => { if (!running && entry[1].ready) ask(entry[1]); });
        line.append(button);
        buttons.push(entry);
      }
    }
    enable();
  }
  copy.addEventListener("click", async () => {
    link.select();
    try {
      await navigator.clipboard.writeText(link.value);
      status.textContent = "The link is copied.";
    } catch {
      // No permission, or a page without https.
      link.focus();
      link.select();
      status.textContent = document.execCommand("copy") ? "The link is copied." : "The link is selected: copy it with Ctrl+C.";
    }
  });
  const describe = () => { what.textContent = model.text; };
  const show = () => { link.value = model.link; };
  model.on("items", offer); model.on("text", describe); model.on("link", show);
  offer(); describe(); show();
  return home;
}
