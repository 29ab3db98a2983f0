"""Measures: functions of features or logits, and of labels."""

from kdjax.evaluate.agreement import divergence, forgetting, logit_correlation, relative_accuracy, top1_agreement
from kdjax.evaluate.attack import fgsm, pgd
from kdjax.evaluate.classification import (
    Reliability,
    brier,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
    top_k,
)
from kdjax.evaluate.coefficient import accuracy_logit, correlation_coefficient
from kdjax.evaluate.correlation import class_correlation, correlation_difference, correlation_gap
from kdjax.evaluate.detection import auroc, false_positive_rate, max_probability, odin
from kdjax.evaluate.few_shot import few_shot_accuracy
from kdjax.evaluate.fidelity import PrecisionRecall, precision_recall
from kdjax.evaluate.generation import frechet_distance, kernel_distance
from kdjax.evaluate.health import alignment, effective_rank, feature_spread, feature_std, rank_me, uniformity
from kdjax.evaluate.hint_points import hint_points
from kdjax.evaluate.intervals import Interval, paired_interval
from kdjax.evaluate.knn import knn_accuracy, knn_scores, nearest
from kdjax.evaluate.landscape import Gap, filter_normalised, losses_at, perturbation_gap
from kdjax.evaluate.measure import MEASURES, Alarm, Measure, measure_of, same_kind
from kdjax.evaluate.multi_label import average_precision, multi_label_probe
from kdjax.evaluate.probe import linear_probe
from kdjax.evaluate.segmentation import class_iou, confusion_matrix, mean_iou
from kdjax.evaluate.selection import density, select_apart, usl, uslt
from kdjax.evaluate.sharpness import Eigenvalues, Trace, evaluation_loss, hessian_top, hessian_trace
from kdjax.evaluate.similarity import linear_cka, minibatch_linear_cka, position_mean, r2_cca, rbf_cka, similarities
from kdjax.evaluate.synthetic import batch_norm_distance, class_entropy, diversity, duplicates, nearest_real
from kdjax.evaluate.task_gradient import pge_distance, principal_gradient
from kdjax.evaluate.teacher_layers import candidate_layers, choose_hint_points
from kdjax.evaluate.transferability import h_score, leep, log_me, negative_conditional_entropy
from kdjax.evaluate.watermark import chance_of_key, detection_rates, watermark_key

__all__ = [
    "MEASURES",
    "Alarm",
    "Eigenvalues",
    "Gap",
    "Interval",
    "Measure",
    "PrecisionRecall",
    "Reliability",
    "Trace",
    "accuracy_logit",
    "alignment",
    "auroc",
    "average_precision",
    "batch_norm_distance",
    "brier",
    "candidate_layers",
    "chance_of_key",
    "choose_hint_points",
    "class_correlation",
    "class_entropy",
    "class_iou",
    "confusion_matrix",
    "correlation_coefficient",
    "correlation_difference",
    "correlation_gap",
    "density",
    "detection_rates",
    "divergence",
    "diversity",
    "duplicates",
    "effective_rank",
    "evaluation_loss",
    "expected_calibration_error",
    "false_positive_rate",
    "feature_spread",
    "feature_std",
    "few_shot_accuracy",
    "fgsm",
    "filter_normalised",
    "forgetting",
    "frechet_distance",
    "h_score",
    "hessian_top",
    "hessian_trace",
    "hint_points",
    "kernel_distance",
    "knn_accuracy",
    "knn_scores",
    "leep",
    "linear_cka",
    "linear_probe",
    "log_me",
    "logit_correlation",
    "losses_at",
    "max_probability",
    "mean_iou",
    "measure_of",
    "minibatch_linear_cka",
    "multi_label_probe",
    "nearest",
    "nearest_real",
    "negative_conditional_entropy",
    "negative_log_likelihood",
    "odin",
    "paired_interval",
    "perturbation_gap",
    "pgd",
    "pge_distance",
    "position_mean",
    "precision_recall",
    "principal_gradient",
    "r2_cca",
    "rank_me",
    "rbf_cka",
    "relative_accuracy",
    "reliability",
    "same_kind",
    "select_apart",
    "similarities",
    "top1_agreement",
    "top_k",
    "uniformity",
    "usl",
    "uslt",
    "watermark_key",
]
