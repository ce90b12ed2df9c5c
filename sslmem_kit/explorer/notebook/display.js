// In the output of a notebook's cell: fetch the explorer `ref` from the kernel, and put it in the place of its picture. `target` is the name of
// the connection in the kernel, `version` that of Bokeh.
function fetchExplorer({ ref, target, version }) {
  const token = ref + "-" + Math.random().toString(36).slice(2);
  // Outputs are attached late, and a kernel is there later still.
  const wait = (ready, then, left = 240) => {
    const found = ready();
    if (found) then(found); else if (left > 0) setTimeout(wait, 250, ready, then, left - 1);
  };
  const home = () => document.getElementById("sslmem-" + ref);
  const library = () => {
    const { Bokeh, PyViz } = window, found = Bokeh && (Bokeh.version === version ? Bokeh : Bokeh.versions?.get(version));
    return found && found.Panel && PyViz.comm_manager ? found : null;
  };
  const load = (parts) => {
    // Once a page: a second Bokeh would take the place of the first, whose explorers receive nothing any more.
    if (library() || window.PyViz.sslmemLoads) return;
    window.PyViz.sslmemLoads = true;
    for (const { markup, script } of parts) {
      if (markup) document.head.append(document.createRange().createContextualFragment(markup));
      const element = document.createElement("script");
      element.textContent = script;
      document.head.append(element);
      element.remove();
    }
  };
  wait(() => home() && window.PyViz?.kernels?.[ref], (kernel) => {
    // The element, not its id: JupyterLab may run a script twice, and may make the output anew, which then asks for itself.
    const place = home();
    if (place.dataset.asked) return;
    place.dataset.asked = token;
    const say = (text) => {
      const sentence = place.querySelector("p") || document.createElement("p");
      sentence.textContent = text;
      place.prepend(sentence);
    };
    // What Panel takes for connections of its own: one for what happens here, one for what Python changes.
    const events = { active: true, connected: true, open() {}, send: (...message) => line.send(...message) }, changes = {};
    const show = async (sent) => {
      const { PyViz } = window;
      PyViz.kernels[token] = { connectToComm: () => events, registerCommTarget: (_, opened) => opened(changes) };
      PyViz.plot_index[token] = true;  // or what Python changes would be thrown away until Bokeh lists the plot
      place.dataset.lmSuppressShortcuts = "true";  // or Enter in a field, and letters, would be JupyterLab's
      place.innerHTML = sent.element;
      await library().embed.embed_items_notebook(JSON.parse(sent.document), JSON.parse(sent.items));
      line.send({ built: true });
      const watch = setInterval(() => {
        if (PyViz.kernels[ref]) return;
        clearInterval(watch);
        say("The kernel was stopped: run this cell again.");
      }, 1000);
    };
    const line = kernel.connectToComm(target, token);
    line.onMsg = (message) => {
      const { content: { data: sent }, metadata } = message;
      if (sent.message) say(sent.message);
      else if (sent.document) {
        load(sent.libraries);
        wait(() => library() && place.isConnected, () => show(sent));
      } else (metadata.msg_type ? events : changes).onMsg(message);
    };
    wait(() => line.active, () => line.open({ ref, loaded: Boolean(library() || window.PyViz.sslmemLoads) }));
  });
}
