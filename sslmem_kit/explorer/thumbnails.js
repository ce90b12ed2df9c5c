// Shared by the parts that show samples. Text of a study goes into textContent and attributes, never into markup.

const HELD = 1000, BATCH = 16, PATIENCE_MS = 15000;
const held = new Map();

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function button(className, text, title) {
  const element = make("button", className, text);
  element.type = "button";
  if (title) element.setAttribute("aria-label", title);
  return element;
}

// Keep a list's elements in step with items: elements stay where they are, so that focus and scroll stay too.
function follow(list, items, create, fill) {
  while (list.children.length > items.length) list.lastChild.remove();
  while (list.children.length < items.length) list.append(create());
  items.forEach((item, index) => fill(list.children[index], item, index));
}

function focused() {
  let element = document.activeElement;
  while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  return element;
}

// Without this JupyterLab takes arrows and Escape for its own commands.
function ownKeys(view) {
  view.el.setAttribute("data-lm-suppress-shortcuts", "true");
}

// Fills <img data-sample="id"> with pictures that are held, and requests the rest from the server, some at a time.
function pictures(model, images) {
  let waiting = 0, timer = 0;
  const key = (source, id) => `${source} ${id}`;
  const show = () => {
    const missing = [];
    for (const image of images()) {
      const id = Number(image.dataset.sample), uri = held.get(key(model.source, id));
      if (uri === undefined) {
        image.removeAttribute("src");
        missing.push(id);
      } else if (image.getAttribute("src") !== uri) {
        if (uri) image.src = uri; else image.removeAttribute("src");
      }
    }
    clearTimeout(timer);
    if (!missing.length || performance.now() < waiting) return;
    // After a rest: a slider that is dragged passes over many samples.
    timer = setTimeout(() => {
      waiting = performance.now() + PATIENCE_MS;
      model.send_msg({ pictures: [...new Set(missing)].slice(0, BATCH) });
    }, 30);
  };
  model.on("msg:custom", (sent) => {
    if (!sent.pictures) return;
    for (const [id, uri] of sent.pictures) {
      held.delete(key(sent.source, id));
      held.set(key(sent.source, id), uri);
    }
    for (const old of held.keys()) {
      if (held.size <= HELD) break;
      held.delete(old);
    }
    waiting = 0;
    show();
  });
  return show;
}

// Small pictures in whole pixels, larger ones smoothly.
function sized(image) {
  image.addEventListener("load", () => image.classList.toggle("coarse", image.naturalWidth * 2 <= image.clientWidth));
}
