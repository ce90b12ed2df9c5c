// Put a figure of Bokeh, as JSON, in the place of the picture in the element with this id.
function showFigure(identity, item) {
  let attempts = 0;
  // The element and the library may come after this script: JupyterLab attaches outputs late.
  const timer = setInterval(function () {
    const home = document.getElementById(identity);
    if (home && window.Bokeh && window.Bokeh.embed) {
      clearInterval(timer);
      const picture = home.firstElementChild;
      Bokeh.embed.embed_item(item, identity).then(function () { picture.remove(); });
    } else if (++attempts > 300) {
      clearInterval(timer);
    }
  }, 50);
}
