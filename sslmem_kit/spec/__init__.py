"""Definition of a study: one section a file, finding and reading of specs, and messages about wrong ones. Imports no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
