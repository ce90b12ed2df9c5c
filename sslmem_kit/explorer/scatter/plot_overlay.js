const KEYS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "Enter", " ", "Escape"]
const PAUSE = 80  // milliseconds between two messages about the mouse

function make(tag, name, parent) {
  const made = document.createElement(tag)
  made.className = name
  parent.append(made)
  return made
}

// Return whether WebGL uses one of these renderers, which are software.
function inSoftware(renderers) {
  const gl = document.createElement("canvas").getContext("webgl")
  if (!gl) return true
  const info = gl.getExtension("WEBGL_debug_renderer_info")
  const name = gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER)
  gl.getExtension("WEBGL_lose_context")?.loseContext()
  return new RegExp(renderers, "i").test(name)
}

export function render({ model, view }) {
  const stage = document.createElement("div")
  stage.className = "stage"
  stage.tabIndex = 0
  stage.setAttribute("role", "application")
  stage.setAttribute("aria-describedby", "help")
  const plot = model.get_child("plot")
  stage.append(plot)
  const line = make("p", "line", stage)
  const help = make("details", "help", stage)
  make("summary", "", help).textContent = "Mouse and keys"
  const text = make("p", "", help)
  text.id = "help"
  text.textContent = model.help
  const spoken = make("p", "spoken", stage)
  spoken.setAttribute("aria-live", "polite")
  const card = make("div", "card", stage)
  card.setAttribute("popover", "manual")
  card.setAttribute("aria-hidden", "true")

  const figure = () => view.get_child_view(view.model.data.plot)
  const corner = () => figure().canvas_view.el.getBoundingClientRect()
  const shownWindow = () => {
    const { x_range, y_range, bbox } = figure().frame
    return { x0: x_range.start, x1: x_range.end, y0: y_range.start, y1: y_range.end,
             width: Math.round(bbox.width), height: Math.round(bbox.height) }
  }

  // -- the window: sent when it has rested
  let sent = "", resting = null
  const sendWindow = () => {
    if (!stage.isConnected || !figure() || !figure().frame) return
    const now = shownWindow(), key = JSON.stringify(now)
    if (key !== sent && now.width > 0 && now.height > 0) {
      sent = key
      model.send_msg({ kind: "window", ...now })
    }
  }
  const rest = () => { clearTimeout(resting); resting = setTimeout(sendWindow, 120) }
  const ranges = [figure().model.x_range, figure().model.y_range]
  for (const range of ranges) range.change.connect(rest)
  // Bokeh's passes over the page measure a figure in a custom component below tabs, but leave out to compute its layout.
  const laid = figure(), after = laid.after_layout
  const corners = () => [laid.frame.bbox.x0, laid.frame.bbox.y0, laid.frame.bbox.x1, laid.frame.bbox.y1].join()
  laid.after_layout = () => {
    const before = corners()
    laid._compute_layout()
    const moved = corners() !== before
    if (moved) {
      // It clears from half a pixel on: the edge would keep what was drawn before the layout was known.
      const { ctx, canvas } = laid.canvas_view.primary
      ctx.save()
      ctx.resetTransform()
      ctx.clearRect(0, 0, canvas.width, canvas.height)
      ctx.restore()
    }
    after.call(laid)
    if (moved) laid.request_repaint()  // it draws by itself only where its size has changed
    rest()
  }
  const sizes = new ResizeObserver(() => {
    laid.measure_layout()
    laid.update_bbox()
    laid.after_layout()
  })
  sizes.observe(plot)

  // -- how points are drawn: in software WebGL takes ten times as long as with a graphics card, and longer than a plain canvas
  const { webgl } = figure().canvas_view
  model.send_msg({ kind: "renderer", renderer: !webgl ? "canvas" : inSoftware(model.software) ? "software" : "webgl" })

  // -- the mouse
  let mouse = null, pressed = false, waiting = null, last = 0, over = false
  const send = () => {
    waiting = null
    if (!mouse || pressed) return
    last = performance.now()
    const { left, top } = corner(), frame = figure().frame, sx = mouse[0] - left, sy = mouse[1] - top
    over = frame.bbox.contains(sx, sy)
    if (over) model.send_msg({ kind: "move", x: frame.x_scale.invert(sx), y: frame.y_scale.invert(sy) })
    else leave()
  }
  const leave = () => { hide(); model.send_msg({ kind: "leave" }) }
  stage.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse") return
    mouse = [event.clientX, event.clientY]
    if (event.buttons) return
    if (card.matches(":popover-open")) place()
    waiting ??= setTimeout(send, Math.max(0, PAUSE - (performance.now() - last)))
  })
  stage.addEventListener("pointerleave", () => {
    if (!mouse) return
    mouse = null
    leave()
  })
  // In the capture phase: sent before Bokeh sends the selection that the same event completes.
  stage.addEventListener("pointerdown", () => { pressed = true; hide() }, true)
  stage.addEventListener("pointerup", (event) => {
    pressed = false
    model.send_msg({ kind: "adding", adding: event.shiftKey })
  }, true)

  // -- keys
  stage.addEventListener("keydown", (event) => {
    // Bokeh's canvas takes the focus on a click; buttons of the toolbar keep their keys.
    const from = event.composedPath()[0]
    if (!KEYS.includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return
    if (from !== stage && from !== figure().canvas_view.events_el) return
    event.preventDefault()
    mouse = null
    model.send_msg({ kind: "key", key: event.key })
  })

  // -- the card
  function hide() { if (card.matches(":popover-open")) card.hidePopover() }
  function place() {
    const { left, top } = corner(), frame = figure().frame, at = model.card.at
    const [x, y] = mouse ?? [left + frame.x_scale.compute(at[0]), top + frame.y_scale.compute(at[1])]
    const { width, height } = card.getBoundingClientRect(), gap = 14, edge = 4
    const right = x + gap + width < window.innerWidth - edge
    const below = y + gap + height < window.innerHeight - edge
    card.style.left = `${Math.max(edge, right ? x + gap : x - gap - width)}px`
    card.style.top = `${Math.max(edge, below ? y + gap : y - gap - height)}px`
  }
  const fill = () => {
    if (!model.card.rows || pressed) return hide()
    card.replaceChildren()
    if (model.card.picture) make("img", "", card).src = model.card.picture
    const rows = make("dl", "", card)
    for (const [name, value] of model.card.rows) {
      make("dt", "", rows).textContent = name
      make("dd", "", rows).textContent = value
    }
    if (!card.isConnected) return
    if (!card.matches(":popover-open")) card.showPopover()
    place()
  }
  const name = () => stage.setAttribute("aria-label", model.label)
  const count = () => { line.textContent = model.line }
  const speak = () => { spoken.textContent = model.spoken }
  model.on("card", fill)
  model.on("line", count)
  model.on("label", name)
  model.on("spoken", speak)
  name(); count()
  model.on("after_render", () => {
    figure().canvas_view.events_el.tabIndex = -1  // the stage takes the focus and has a name
    let root = stage
    while (root.getRootNode() instanceof ShadowRoot) root = root.getRootNode().host
    root.dataset.lmSuppressShortcuts = "true"  // arrows would go through JupyterLab's cells
    rest()
  })
  model.on("remove", () => {
    sizes.disconnect()
    clearTimeout(resting); clearTimeout(waiting)
    for (const range of ranges) range.change.disconnect(rest)
  })
  return stage
}
