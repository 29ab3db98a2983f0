import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import linear, sgd, stage

from kdjax import augment, methods
from kdjax.core import Frozen, InputError, Net
from kdjax.data import column_source
from kdjax.train import Pace, Result
from kdjax.train.stage import blank_batch, check_stage
from kdjax.train.teacher_cache.spec import TeacherCache

KD = stage(methods.kd(linear(), linear(), sgd()))


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (stage(pace=Pace(2, 3, 6)), r"pace=\(2, 3, 6\)"),
        (stage(pace=Pace(2, 4, 6)), r"pace=\(2, 4, 6\)"),
        (stage(pace=Pace(0, 4, 4)), r"pace=\(0, 4, 4\)"),
        (stage(pace=Pace(2, 0, 0)), r"pace=\(2, 0, 0\)"),
        (stage(refresh_every=3), "refresh_every=3 is not accepted: expected a multiple of pace.block=2"),
        (stage(steps=0), "steps=0"),
        (stage(members=0), "members=0"),
        (stage(members=3, hyper={"rate": [0.1, 0.2]}), "2 values of rate for 3 members"),
        (KD, "needs teacher; it was given nothing"),
    ],
)
def test_a_stage_that_cannot_run_as_it_says_is_refused(one, line):
    with pytest.raises(InputError, match=f"stage 'student'.*{line}") as info:
        check_stage("student", one, {})
    assert "\n" not in str(info.value)


def test_weights_given_without_a_digest_are_refused():
    with pytest.raises(InputError, match="teacher is given without a source"):
        check_stage("student", KD, {"teacher": Frozen({}, {})})
    check_stage("student", KD, {"teacher": Frozen({}, {}, "digest")})


def test_steps_need_not_be_a_multiple_of_the_block():
    check_stage("student", stage(steps=7, pace=Pace(2, 4, 8), refresh_every=2), {})


def test_a_batch_of_zeros_looks_like_one_of_the_data():
    two = augment.views(lambda k, x: x[:2], lambda k, x: x)
    batch = blank_batch(stage(augment=two, batch=5))
    assert {k: x.shape for k, x in batch.items() if k != "views"} == {"image": (5, 4, 4, 1), "label": (5,), "index": (5,)}
    assert [x.shape for x in batch["views"]] == [(5, 2, 4, 1), (5, 4, 4, 1)]
    assert not any(np.any(x) for x in jax.tree.leaves(batch))
    assert set(blank_batch(stage(source=None))) == {"index"}


def test_a_batch_of_tokens_has_the_teacher_s_outputs_for_each():
    net = Net(lambda key, x: (jnp.zeros((6, 7)), {}), lambda p, s, x, *, train, key=None: ({"logits": p[x]}, s))
    source = column_source({"tokens": np.zeros((8, 5), np.int32), "label": np.zeros((8, 5), np.int32)})
    batch = blank_batch(stage(source=source, augment=augment.per_image(), batch=4, teacher_cache=TeacherCache(net)))
    assert batch["tokens"].shape == batch["label"].shape == (4, 5) and batch["teacher"]["logits"].shape == (4, 5, 7)


def test_a_result_gives_one_members_network():
    weights = {
        "student": {"params": {"w": np.arange(6.0).reshape(3, 2)}, "stats": {}},
        "assistant": {"params": {"w": np.zeros((3, 1))}, "stats": {}},
    }
    result = Result(weights, {}, "abc", 4)
    first = result.frozen(member=2)
    assert first.params["w"].tolist() == [4.0, 5.0] and first.source == "abc/student/2"
    assert result.frozen("student", 2).source == first.source
    assert result.frozen("assistant").params["w"].shape == (1,)
