"""Serving a page to browsers: what can be reached, by whom, and for how long.

Every request passes :meth:`~sslmem_kit.serving.app.Application.find_handler`, which knows these addresses and answers 404 to all others:

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

from importlib import import_module
from typing import Any

__all__ = ["Guard", "Server", "add_user", "read_users", "remove_user", "serve", "user_name"]

_HOME = {
    "Guard": "gate",
    "Server": "server",
    "add_user": "credentials",
    "read_users": "credentials",
    "remove_user": "credentials",
    "serve": "server",
    "user_name": "app",
}


def __getattr__(name: str) -> Any:
    # On first use: keeping a file of users must not wait for Panel.
    if name not in _HOME:
        raise AttributeError(f"module 'sslmem_kit.serving' has no attribute {name!r}")
    return getattr(import_module(f"sslmem_kit.serving.{_HOME[name]}"), name)
