"""TinyMIM: which token relates to which."""

from typing import Any

from kdjax import losses
from kdjax.core import InputError
from kdjax.core.arrays import Weight
from kdjax.methods.offline._tokens import block_name, heads
from kdjax.methods.recipes import Objective, method_of


def tinymim_objective(*, weight: Weight = 1.0, block: int = 0, query_key: Any = 1.0, value_value: Any = 1.0) -> Objective:
    """The tokens of the student's last block relate to each other as those of one block of the teacher.

    `L_x = query_key KL(R_qk(t) || R_qk(s)) + value_value KL(R_vv(t) || R_vv(s))`, `R_ab = softmax(a b' / sqrt(D))` of each head, on
    each side with its own width D; the mean over heads and tokens. What follows the student's last attention learns nothing: a
    stage with labels, or a linear probe, comes after. Both sides see whole images.

    Args:
      weight: factor of the term.
      block: the teacher's, from 1; 0 for the last. The paper takes 18 of 24, and the last of 12.
      query_key: weight of the relations of queries to keys.
      value_value: weight of the relations of values to values.

    Reference: Ren et al., TinyMIM: An Empirical Study of Distilling MIM Pre-trained Models, CVPR 2023 (arXiv 2301.01296).
    """

    def terms(seen, adapted):
        student, teacher = heads("student", seen.student), heads("teacher", seen.teacher, block)
        ours, theirs = student[0].shape[1], teacher[0].shape[1]
        if ours != theirs:
            names = block_name("student", seen.student), block_name("teacher", seen.teacher, block)
            raise InputError(
                f"the student's {names[0]} has {ours} heads, the teacher's {names[1]} has {theirs}: expected as many, as "
                f"last_heads={theirs} makes them"
            )
        return {"relations": losses.token_relation(student, teacher, query_key=query_key, value_value=value_value)}

    return Objective(terms, {"relations": weight})


tinymim = method_of(tinymim_objective, label_weight=None, columns=("image",))
