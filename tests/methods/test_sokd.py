from inspect import signature

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import close, equal, sokd, start, student_of, supervised
from own_lessons import KEY, same_as_golden
from tiny_nets import staged

from kdjax import methods
from kdjax.core import Frozen, InputError, Net


def tables(*names):
    """A Net whose taps are its parameters, whatever it sees."""
    empty = {name: jnp.zeros((6, 8)) for name in names}
    return Net(lambda key, x: (empty, {}), lambda params, stats, x, *, train, key=None: (params, stats))


def test_golden(golden):
    """The loss and its gradients are those of the authors' code; the teacher's logits get none."""
    g, one = golden("sokd/sokd"), tables("logits")
    method = methods.sokd(one, one, one, optax.sgd(1.0), temperature=g["hp_temperature"].item())
    batch = {"image": jnp.zeros((6, 2, 2, 1)), "label": jnp.asarray(g["labels"])}

    def loss(s, a, t):
        given = {"teacher": Frozen({"logits": t}, {})}
        state = method.init(KEY, batch, given)
        return method.loss({"student": {"logits": s}, "adapter": {"logits": a}}, state, batch, KEY)[0]

    same_as_golden(g, loss, "logits_s", "logits_a", "logits_t")


def test_a_student_on_labels_only_is_supervised():
    """The bridge goes on learning beside it."""
    case, plain = sokd(weight=0.0, tx=optax.sgd(0.5)), supervised(net=staged())
    a, b = start(case), start(plain)
    first = a.learner.params["adapter"]
    step_a, step_b = jax.jit(case.method.step), jax.jit(plain.method.step)
    for _ in range(3):
        (a, _), (b, _) = step_a(a, case.batch, KEY), step_b(b, plain.batch, KEY)
    close(student_of(a), student_of(b), atol=1e-6)
    assert not equal(a.learner.params["adapter"], first)


def test_the_student_never_sees_the_teacher_s_answers():
    """Other weights of its classifier move the bridge and not the student."""
    case = sokd()
    given = case.given["teacher"]
    other = Frozen({**given.params, "classifier": jax.tree.map(lambda x: 2 * x + 1, given.params["classifier"])}, given.stats)
    state = start(case)
    step = jax.jit(case.method.step)
    a, _ = step(state, case.batch, KEY)
    b, _ = step(state._replace(given={"teacher": other}), case.batch, KEY)
    assert equal(student_of(a), student_of(b)) and not equal(a.learner.params["adapter"], b.learner.params["adapter"])


def test_the_teacher_s_statistics_go_on_where_its_norm_is_trained():
    case = sokd(teacher_norm="train")
    given = case.given["teacher"]
    hidden = {"teacher": jax.tree.map(jnp.zeros_like, given)}  # as a run shows it to `init`
    state = case.method.init(KEY, case.batch, hidden)._replace(given=case.given)
    assert equal(case.method.weights(state)["bridge"][1]["net"], given.stats)
    new, _ = jax.jit(case.method.step)(state, case.batch, KEY)
    _, moved = case.nets["teacher"].apply(given.params, given.stats, case.batch["image"], train=True)
    close(new.learner.stats["adapter"]["teacher"], moved, rtol=1e-6, atol=1e-6)
    close(case.method.weights(new)["bridge"][1]["net"], moved, rtol=1e-6, atol=1e-6)
    assert equal(case.method.weights(new)["teacher"], (given.params, given.stats))


def test_the_bridge_is_a_fresh_copy_of_the_teacher_s_last_stage():
    case = sokd()
    params = start(case).learner.params["adapter"]
    (own,) = (params[name] for name in params if name.endswith("_stage2_block1"))
    theirs = case.given["teacher"].params
    assert own["conv"]["kernel"].shape == theirs["stage2_conv"]["kernel"].shape
    assert not np.array_equal(own["conv"]["kernel"], theirs["stage2_conv"]["kernel"])


def test_the_defaults_are_those_of_the_authors_code_but_the_norm():
    found = {k: p.default for k, p in signature(methods.sokd).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert found.pop("temperature") == 4.0 and found.pop("teacher_norm") == "eval"
    assert {v for k, v in found.items() if k.endswith("weight")} == {1.0}


def test_refusals():
    with pytest.raises(InputError, match=r"^teacher_norm='frozen' is not accepted: expected 'eval' or 'train'"):
        sokd(teacher_norm="frozen")
    with pytest.raises(InputError, match="temperature=0 is not accepted"):
        sokd(temperature=0)
