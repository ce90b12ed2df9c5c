"""Measure what self-supervised encoders memorize.

Names are looked up when they are first used, so that the command line's help does not wait for xarray, nor a reader of studies for torch.

>>> import sslmem_kit
>>> study = sslmem_kit.open_study("papermill_runs/digits")  # doctest: +SKIP
>>> study.scores(protocol="corrected")["sslmem"]  # doctest: +SKIP
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
