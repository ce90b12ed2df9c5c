"""Serving a page to browsers: what can be reached, by whom, and for how long.

Every request passes :meth:`~sslmem_kit.explorer.serving.app.Application.find_handler`, which knows these addresses and answers 404 to
all others:

==================  ==============================================================================================
``/``               the page, a session of its own for each tab
``/ws``             its websocket, over which everything of a study travels: scores, images, downloads
``/login``          the form, or the way to the OAuth provider; ``/logout`` ends a sign-in here, not only in the browser
``/static/``        JavaScript and styles of Bokeh and Panel, the same for everybody, open to all; ``/favicon.ico`` too
==================  ==============================================================================================

Panel's other addresses (``/components/``, which imports the module an address names, ``/autoload.js``, ``/metadata``, ``/rest``) are not
served. Nothing that a browser sends names a file, a module or a notebook. Beside who asks, the server looks at what for: the ``Host`` must
be one it goes by (against DNS rebinding), a websocket or a form must come from a page of its own, a session's token must be one it signed.
All is forgotten when the process ends: the secret that signs cookies is made anew, so a restart signs everybody out.

Of what :mod:`sslmem_kit` measures nothing is known here.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
