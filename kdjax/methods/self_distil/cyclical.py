"""Labels that are easy at both ends of training and hard in its middle."""

import jax.numpy as jnp

from kdjax import losses
from kdjax.core import check_option, cyclic_schedule, masked_loss
from kdjax.core.arrays import Weight
from kdjax.methods.recipes import Objective, method_of


def cyclical_objective(
    *,
    steps_per_epoch: int,
    epochs: int,
    weight: Weight = 1.0,
    cycle: float = 2.0,
    temperature: tuple[float, float] = (1.0, 1.0),
    focal: bool = False,
    hard: tuple[float, float] = (0.0, 1.0),
    gamma_easy: float = 3.0,
    gamma_pos: float = 2.0,
    gamma_neg: float = 2.0,
    smoothing: float = 0.0,
) -> Objective:
    """The labels at a temperature, or by a focal loss, that begin easy, grow hard and come back over a run.

    `L_x = CE(y, softmax(z / T_e))`, without a factor `T^2`; with `focal`, `losses.cyclical_focal` of `z / T_e` with the share
    `1 - h_e` of what is predicted well. Both `T_e` and `h_e` follow `core.cyclic_schedule` in epoch e: the smaller number of a pair
    at both ends, the larger one after a part `1 / cycle` of the run. Pairs of equal numbers are constants.

    Args:
      steps_per_epoch: of a run.
      epochs: of a run.
      weight: factor of the term.
      cycle: at least 1; 2 is symmetric, with 1 nothing comes back.
      temperature: `(min, max)`, above 0.
      focal: whether the loss is focal; mixed labels then count as their largest class, as in the authors' code.
      hard: `(min, max)`, the share of the focal loss, in [0, 1].
      gamma_easy: exponent of what is predicted well.
      gamma_pos: exponent of what is not, of the label's class.
      gamma_neg: that of the other classes.
      smoothing: of the labels, in [0, 1); the authors have 0.1 in the focal loss.

    Raises:
      InputError: for a pair with the larger number first, options out of range, or a `hard` that is not focal.

    Reference: Smith, General Cyclical Training of Neural Networks, 2022 (arXiv 2202.08835); Cyclical Focal Loss, 2022 (arXiv
    2202.08978). Weight decay and clip that go the same way are fields of the optimiser.
    """
    timed = {"steps_per_epoch": steps_per_epoch, "epochs": epochs, "cycle": cycle}
    temperature_at = cyclic_schedule("temperature", temperature, **timed)
    hard_at = cyclic_schedule("hard", hard, **timed)
    check_option("temperature", temperature[0], lambda t: t > 0, "numbers above 0")
    check_option("hard", hard[1], lambda h: h <= 1, "shares, at most 1")
    check_option("hard", tuple(hard), lambda h: focal or h == (0, 1), "(0.0, 1.0) without focal=True, whose share it is")
    gammas = {"gamma_easy": gamma_easy, "gamma_pos": gamma_pos, "gamma_neg": gamma_neg}

    def terms(seen, adapted):
        logits, batch = seen.student["logits"] / temperature_at(seen.step), seen.batch
        if not focal:
            return {"cyclical": masked_loss(losses.cross_entropy, logits, batch, smoothing=smoothing)}
        if not jnp.issubdtype(jnp.result_type(batch["label"]), jnp.integer):
            batch = batch | {"label": jnp.argmax(batch["label"], axis=-1)}
        easy = 1 - hard_at(seen.step)
        return {"cyclical": masked_loss(losses.cyclical_focal, logits, batch, easy=easy, smoothing=smoothing, **gammas)}

    return Objective(terms, {"cyclical": weight}, needs=())


cyclical = method_of(cyclical_objective, label_weight=None, taught=False)
