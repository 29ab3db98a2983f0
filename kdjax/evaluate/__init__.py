"""Measures: functions of features or logits, and of labels."""

from kdjax.evaluate.agreement import divergence, logit_correlation, top1_agreement
from kdjax.evaluate.classification import brier, expected_calibration_error, negative_log_likelihood, top_k
from kdjax.evaluate.health import alignment, effective_rank, feature_std, rank_me, uniformity
from kdjax.evaluate.intervals import Interval, paired_interval
from kdjax.evaluate.knn import knn_accuracy, knn_scores
from kdjax.evaluate.probe import linear_probe

__all__ = [
    "Interval",
    "alignment",
    "brier",
    "divergence",
    "effective_rank",
    "expected_calibration_error",
    "feature_std",
    "knn_accuracy",
    "knn_scores",
    "linear_probe",
    "logit_correlation",
    "negative_log_likelihood",
    "paired_interval",
    "rank_me",
    "top1_agreement",
    "top_k",
    "uniformity",
]
