"""Thumbnails as PNG data: URIs, so that no picture of a study has an address of its own that could be requested without a session.

A part of the page that shows samples is sent their ids, and requests the pictures that it does not hold (``thumbnails.js``). So text is
shown at once, no picture is sent twice, and pictures are read once for all sessions of a process.
"""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Hashable
from typing import Any

import numpy as np
from panel.custom import JSComponent
from PIL import Image

from sslmem_kit import store
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import OpenStudy
from sslmem_kit.names import SAMPLE

AT_ONCE = 16
"""Largest number of pictures in an answer: those of 16 samples may lie in 16 chunks, and other sessions wait while they are read."""


def _tile(text: str) -> str:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><rect width="64" height="64" fill="#808080"/>'
        f'<text x="32" y="36" font-family="sans-serif" font-size="11" text-anchor="middle" fill="#ffffff">{text}</text></svg>'
    )
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


NO_PICTURE, DAMAGED = _tile("no image"), _tile("damaged")
"""Tiles in place of a sample that is no image, and of one whose picture is damaged."""


def data_uri(picture: np.ndarray) -> str:
    """Return a PNG of (y, x, channel) uint8 as a data URI; 1 channel is grey, 3 are RGB."""
    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture[..., :3]).save(buffer, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def thumbnails(opened: OpenStudy, positions: np.ndarray) -> list[str]:
    """Return data URIs of the clean images of samples, in the order of the positions; held in the library's cache.

    Samples that are no images, or whose pictures are damaged, have a tile with that text.
    """
    if "images" not in opened.tree.children:
        return [NO_PICTURE] * len(positions)

    def read(keys: list[Hashable]) -> list[np.bytes_]:
        # Selected in ascending order, in which chunks are read once.
        ascending, place = np.unique([key[-1] for key in keys], return_inverse=True)
        whole = np.array([not opened.is_damaged("images/thumbnail", int(position)) for position in ascending])
        try:
            pictures = dict(zip(ascending[whole].tolist(), _read(opened, ascending[whole]), strict=True))
        except UserError:  # one of them; find it
            pictures = {}
            for position in ascending[whole].tolist():
                with contextlib.suppress(UserError):
                    pictures[position] = _read(opened, np.array([position]))[0]
        uris = [data_uri(pictures[position]) if position in pictures else DAMAGED for position in ascending.tolist()]
        return [np.bytes_(uris[index].encode()) for index in place]

    keys = [(opened.key, opened.stamp, "thumbnail", position) for position in np.asarray(positions, np.int64).tolist()]
    return [bytes(uri).decode() for uri in opened.cache.get_many(keys, read)]


def _read(opened: OpenStudy, ascending: np.ndarray) -> np.ndarray:
    array = opened.tree["images/thumbnail"].isel({SAMPLE: ascending}).transpose(SAMPLE, "y", "x", "channel")
    with store.reading(opened.study.results_path):
        return array.values


def source(opened: OpenStudy) -> str:
    """Return the study and its state, to which ids belong: pictures that a browser holds are of one source."""
    return f"{opened.key} {opened.stamp}"


def answer(session: Session, part: JSComponent, wanted: Any) -> None:
    """Send a part of the page the pictures of the ids that it requested: ``{"pictures": [[id, URI], ...], "source": ...}``."""
    ids = known_ids(session, wanted)[:AT_ONCE]
    try:
        uris = thumbnails(session.opened, session.opened.positions(np.array(ids, np.int64))) if ids else []
    except UserError as error:
        session.note, uris = f"{error}.", [""] * len(ids)
    if DAMAGED in uris:
        session.note = "Pictures of this study are damaged; `sslmem run` on its directory makes them again."
    part._send_msg({"pictures": [list(pair) for pair in zip(ids, uris, strict=True)], "source": source(session.opened)})


def known_ids(session: Session, wanted: Any) -> list[int]:
    """Return the ids of samples of the open study in what a browser sent."""
    if session.opened.tree is None or not isinstance(wanted, list):
        return []
    # JavaScript has one kind of numbers; a bool is an int in Python.
    numbers = (value for value in wanted if type(value) in (int, float) and abs(value) < 2**63)
    whole = (int(value) for value in numbers if float(value).is_integer())
    return [value for value in whole if len(session.opened.positions(np.array([value])))]
