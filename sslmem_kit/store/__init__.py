"""The results store and the study directory: what is in them, how it is laid out, written, read and checked."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
