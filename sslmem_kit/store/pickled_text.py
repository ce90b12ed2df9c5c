"""Text of an object array in a NumPy file, without NumPy's unpickling, which may run whatever the file asks for.

Feldman and Zhang's ``imagenet_index.npz`` holds the names of the images as an array of Python objects. Such an array is a pickle; here it is
read by an unpickler in whose place of ``ndarray`` and ``dtype`` stand plain containers, and that knows no other name: nothing is imported
or called, and what is no list of ``bytes`` or ``str`` is refused.
"""

from __future__ import annotations

import pickle
from typing import IO, Any

import numpy as np

_NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")


class _Dtype:
    """Stands for ``numpy.dtype``: takes what it is made of and does nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stands for ``numpy.ndarray``: keeps the state that a pickle sets."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Return the bytes that Python 3 writes as text in older protocols."""
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise pickle.UnpicklingError(f"bytes as {encoding!r}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Unpickler of arrays of text alone."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name of NumPy's; no other name is known."""
        known = {("_codecs", "encode"): _encode}
        for place in _NUMPY:
            known |= {(place, "_reconstruct"): _reconstruct, (place, "ndarray"): _Array, (place, "dtype"): _Dtype}
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return known[module, name]


def read_text(file: IO[bytes]) -> np.ndarray:
    """Return the text of a pickled array of one dimension.

    Parameters
    ----------
    file
        A ``.npy`` file, open for reading at what follows its header.

    Returns
    -------
    (entry,) of ``str``, as an object array.

    Raises
    ------
    ValueError
        It is damaged, asks for anything but an array, or holds something else than text.

    Examples
    --------
    >>> import io
    >>> buffer = io.BytesIO(pickle.dumps(np.array([b"cat/1.png", "dog/2.png"], object)))
    >>> read_text(buffer).tolist()
    ['cat/1.png', 'dog/2.png']
    """
    try:
        found = _Unpickler(file).load()
    except Exception as error:  # whatever bytes do to an unpickler
        raise ValueError(
            f"a pickle that is not read, for reading it could run code ({' '.join(str(error).split())[:80]})"
        ) from None
    state = found.state if isinstance(found, _Array) else None
    entries = state[4] if isinstance(state, tuple) and len(state) == 5 else None
    if not isinstance(entries, list) or not all(isinstance(entry, bytes | str) for entry in entries):
        raise ValueError("a pickle of something else than text")
    try:
        return np.array([entry.decode() if isinstance(entry, bytes) else entry for entry in entries], object)
    except UnicodeDecodeError:
        raise ValueError("a pickle of bytes that are no text in UTF-8") from None
