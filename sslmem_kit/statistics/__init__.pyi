from .agreement import highest, rank_agreement, top_overlap
from .summary import LARGE, bootstrap_interval, by_partition, partition_summary, share_above, wilson_interval
from .t_tests import LETTER, TABLE_2, TABLE_16, one_sample_test, partition_tests, two_sample_test

__all__ = [
    "LARGE",
    "LETTER",
    "TABLE_2",
    "TABLE_16",
    "bootstrap_interval",
    "by_partition",
    "highest",
    "one_sample_test",
    "partition_summary",
    "partition_tests",
    "rank_agreement",
    "share_above",
    "top_overlap",
    "two_sample_test",
    "wilson_interval",
]
