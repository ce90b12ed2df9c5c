from .errors import UserError
from .explorer.notebook.monitor import monitor
from .explorer.notebook.pickers import pick_class, pick_threshold
from .explorer.page import explore
from .names import PARTITION_CODE, PARTITIONS
from .report.notebook_catalog import check_parameters
from .run.audit.in_memory import score_encoders
from .run.frontier import run_frontier
from .run.removal_tree import run_tree
from .run.study import run_study
from .scores.estimators import estimate
from .scores.sslmem import family_contrast, leave_out, score
from .spec.loading import load_spec
from .store.frontier import Frontier, open_frontier
from .store.removal_tree import RemovalTree, open_tree
from .study import AuditStudy, Study, open_study, studies_by_weight

__version__: str

__all__ = [
    "PARTITIONS",
    "PARTITION_CODE",
    "AuditStudy",
    "Frontier",
    "RemovalTree",
    "Study",
    "UserError",
    "check_parameters",
    "estimate",
    "explore",
    "family_contrast",
    "leave_out",
    "load_spec",
    "monitor",
    "open_frontier",
    "open_study",
    "open_tree",
    "pick_class",
    "pick_threshold",
    "run_frontier",
    "run_study",
    "run_tree",
    "score",
    "score_encoders",
    "studies_by_weight",
]
