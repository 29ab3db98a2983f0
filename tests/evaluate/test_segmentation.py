import jax
import jax.numpy as jnp
import numpy as np
from sklearn import metrics

from kdjax.evaluate import class_iou, confusion_matrix, mean_iou

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(3, 4, 5, 6)).astype(np.float32)
LABELS = RANDOM.integers(-1, 5, size=(3, 4, 5))  # class 5 has no pixel, and some pixels no class


def test_counts_and_shares_are_scikit_learns():
    known, said = LABELS[LABELS >= 0], LOGITS.argmax(-1)[LABELS >= 0]
    counts = jax.jit(confusion_matrix)(LOGITS, LABELS)
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(known, said, labels=range(6)))
    wanted = metrics.jaccard_score(known, said, labels=range(6), average=None)
    np.testing.assert_allclose(class_iou(counts), wanted)
    np.testing.assert_allclose(mean_iou(counts), wanted.mean())


def test_counts_of_parts_add_up_and_a_class_number_can_be_ignored():
    parts = jax.vmap(confusion_matrix)(LOGITS, jnp.asarray(LABELS))
    np.testing.assert_array_equal(parts.sum(0), confusion_matrix(LOGITS, LABELS))
    without = np.where(LABELS == 2, -1, LABELS)
    np.testing.assert_array_equal(confusion_matrix(LOGITS, LABELS, ignore=2), confusion_matrix(LOGITS, without))


def test_a_class_that_is_not_there_does_not_count_and_nothing_is_nan():
    counts = np.zeros((2, 3, 3))
    counts[0, 0, 0], counts[0, 1, 0] = 3, 1
    np.testing.assert_allclose(class_iou(counts)[0], [0.75, 0, np.nan])
    np.testing.assert_allclose(mean_iou(counts), [0.375, np.nan])
