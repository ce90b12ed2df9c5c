"""Images, labels and stable sample ids of any data set: built in, by torchvision, in a folder or in an npz file.

``load(DataSpec(name="digits"))`` answers with a `Dataset`. Importing this package imports no torch, torchvision or scikit-learn.
"""

from sslmem_kit.data.builtin import BUILTIN
from sslmem_kit.data.dataset import Dataset, load
from sslmem_kit.data.sides import stratified_test_side
from sslmem_kit.data.spec import DataSpec

__all__ = ["BUILTIN", "DataSpec", "Dataset", "load", "stratified_test_side"]
