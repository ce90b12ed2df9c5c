"""A client of Bokeh's protocol over a websocket that is open: what a browser says to the explorer, and what it hears."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any


async def ask(socket: Any, kind: str, content: dict[str, Any]) -> None:
    """Send a message, which is called "1"."""
    for part in ({"msgid": "1", "msgtype": kind}, {}, content):
        await socket.write_message(json.dumps(part))


async def answer(socket: Any, asked: str | None) -> str:
    """Content of the answer to a message; the patches that come before it are received and left."""
    while True:
        parts = [await asyncio.wait_for(socket.read_message(), 120) for _ in range(3)]
        if None in parts:
            raise ConnectionError(f"closed: {socket.close_code} {socket.close_reason}")
        header = json.loads(parts[0])
        for _ in range(2 * header.get("num_buffers", 0)):
            await socket.read_message()
        if header["msgtype"] == "ERROR":
            raise RuntimeError(parts[2][:300])
        if header.get("reqid") == asked:
            return parts[2]


def models_of(tree: Any, name: str) -> Iterator[dict[str, Any]]:
    """Models of a type in a document's JSON."""
    if isinstance(tree, dict):
        if tree.get("name") == name and "id" in tree:
            yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            yield from models_of(branch, name)
