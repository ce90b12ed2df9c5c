from .datasets.builtin import BUILTIN
from .datasets.dataset import Dataset, load
from .datasets.test_split import stratified_test_split

__all__ = [
    "BUILTIN",
    "Dataset",
    "load",
    "stratified_test_split",
]
