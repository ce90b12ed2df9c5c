"""Images, labels and stable sample ids of any data set: built in, by torchvision, in a folder or in an npz file.

``load(DataSpec(name="digits"))`` answers with a `Dataset`. Importing this package imports no torch, torchvision or scikit-learn.
"""

from .builtin import BUILTIN
from .dataset import Dataset, load
from .sides import stratified_test_side
from .spec import DataSpec

__all__ = ["BUILTIN", "DataSpec", "Dataset", "load", "stratified_test_side"]
