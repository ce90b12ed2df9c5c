"""What a study is: one section a file, how specs are found and read, and what is said of wrong ones. Imports no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
