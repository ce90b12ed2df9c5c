from .agreement import chance_band, highest, rank_agreement, top_overlap
from .effect import effects, seed_summary, training_means
from .estimators import compare_estimators
from .extremes import cross_fitted, with_shrunken
from .fdr import fdr_summary, null_proportion, p_values, q_values, with_significance
from .layers import layer_scores, layer_table, layer_tests
from .order import order_caveat, rank_scores
from .planted import planted_table
from .precision import VarianceComponents, curve_of_study, planning_curve, required_seeds, variance_shares
from .regularizer import memorization_by_weight
from .reliability import assess, forecast, spearman_brown
from .removal import removal_curves, removal_differences, removal_verdict
from .score_agreement import score_agreement
from .score_overlap import score_overlap
from .score_replicates import mean_scores, study_replicates
from .score_studies import match_studies, scores_of_studies
from .side_by_side import studies_side_by_side
from .summary import bootstrap_mean_interval, by_partition, partition_summary, share_above, wilson_interval
from .supervised import agreement_on_candidates, supervised_effect
from .t_tests import LETTER, TABLE_2, TABLE_16, one_sample_test, partition_tests, two_sample_test
from .trajectory import memorization_over_training
from .units import strongest_seen, unit_table
from .variance_components import CrossedScores
from .verdict import Verdict, verdict

__all__ = [
    "LETTER",
    "TABLE_2",
    "TABLE_16",
    "CrossedScores",
    "VarianceComponents",
    "Verdict",
    "agreement_on_candidates",
    "assess",
    "bootstrap_mean_interval",
    "by_partition",
    "chance_band",
    "compare_estimators",
    "cross_fitted",
    "curve_of_study",
    "effects",
    "fdr_summary",
    "forecast",
    "highest",
    "layer_scores",
    "layer_table",
    "layer_tests",
    "match_studies",
    "mean_scores",
    "memorization_by_weight",
    "memorization_over_training",
    "null_proportion",
    "one_sample_test",
    "order_caveat",
    "p_values",
    "partition_summary",
    "partition_tests",
    "planning_curve",
    "planted_table",
    "q_values",
    "rank_agreement",
    "rank_scores",
    "removal_curves",
    "removal_differences",
    "removal_verdict",
    "required_seeds",
    "score_agreement",
    "score_overlap",
    "scores_of_studies",
    "seed_summary",
    "share_above",
    "spearman_brown",
    "strongest_seen",
    "studies_side_by_side",
    "study_replicates",
    "supervised_effect",
    "top_overlap",
    "training_means",
    "two_sample_test",
    "unit_table",
    "variance_shares",
    "verdict",
    "wilson_interval",
    "with_shrunken",
    "with_significance",
]
