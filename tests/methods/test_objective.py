"""The parts of offline methods: sums of objectives, pairs of maps, a stream for each teacher, methods of one objective."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import close, equal, look, student_of, unweighted
from tiny_nets import frozen, labelled_images, small, staged

from kdjax import methods, models
from kdjax.core import Frozen, InputError, Net, jit_fast_compile
from kdjax.methods.offline.kd import kd_objective
from kdjax.methods.recipes import Objective, combine, each_teacher, labels_objective, method_of, pairs, student, tap

KEY = jax.random.key(5)
STUDENT, TEACHER = ({f"stage{k}": jnp.full((2, 1, 1, 1), 10.0 * side + k) for k in (1, 2)} for side in (1, 2))


def scaled(name, start=1.0):
    """An objective with a scalar to train and a count to keep."""

    def apply(params, stats, seen, *, train, key=None):
        return {"factor": params}, stats + 1

    adapter = Net(lambda key, seen: (jnp.float32(start), jnp.int32(0)), apply)
    terms = lambda seen, adapted: {name: adapted["factor"] * seen.teacher["stage1"][:, 0, 0, 0]}  # noqa: E731
    return Objective(terms, {name: 2.0}, adapter, ("teacher", f"given_{name}"))


def test_a_sum_keeps_terms_weights_needs_and_adapters_apart():
    whole = combine(scaled("a", 1.0), kd_objective(weight=0.5), scaled("b", 3.0))
    seen = look(STUDENT | {"logits": jnp.eye(2)}, TEACHER | {"logits": jnp.eye(2)})
    params, stats = whole.adapter.init(KEY, seen)
    adapted, stats = whole.adapter.apply(params, stats, seen, train=True)
    terms = whole.terms(seen, adapted)
    assert [terms[name][0] for name in ("a", "b", "distillation")] == [21, 63, 0]
    assert dict(whole.weights) == {"a": 2.0, "distillation": 0.5, "b": 2.0}
    assert whole.needs == ("teacher", "given_a", "given_b") and jax.tree.leaves(stats) == [1, 1]
    assert combine(kd_objective()).adapter is None


def test_a_sum_of_two_terms_of_one_name_is_refused():
    with pytest.raises(InputError, match="two objectives have a term 'distillation': expected every term once"):
        combine(kd_objective(), labels_objective(), kd_objective())


def values(found):
    return [(float(a[0, 0, 0, 0]), float(b[0, 0, 0, 0])) for a, b in found]


def test_pairs_are_all_stages_named_ones_or_the_last():
    seen = look(STUDENT, TEACHER)
    assert values(pairs(seen)) == [(11, 21), (12, 22)]
    assert values(pairs(seen, ("stage2", "stage1=stage2"))) == [(12, 22), (11, 22)]
    assert values(pairs(look({"stage1": STUDENT["stage1"]}, TEACHER), ("",))) == [(11, 22)]
    before = look(*({f"{name}_preact": 3 * x for name, x in taps.items()} | taps for taps in (STUDENT, TEACHER)))
    assert values(pairs(before, suffix="_preact")) == [(33, 63), (36, 66)]
    assert values(pairs(before, ("",), suffix="_preact")) == [(36, 66)]


def test_maps_that_do_not_pair_are_refused_in_one_line():
    one = look({"stage1": STUDENT["stage1"]}, TEACHER)
    with pytest.raises(InputError, match=r"the student's stage1 and the teacher's stage1, stage2; give layers=\('stage1=stage2'"):
        pairs(one)
    with pytest.raises(InputError, match=r"the student's none and the teacher's none; give"):
        pairs(look({}, {}))
    with pytest.raises(InputError, match=r"^tap 'stage2' is not one of the student's; it has stage1$"):
        pairs(one, ("stage2=stage1",))
    several = {f"teacher{k}/{name}": x for k in range(2) for name, x in TEACHER.items()}
    with pytest.raises(InputError, match=r"the teacher's none; let each teacher have a loss of its own"):
        pairs(look(STUDENT, several))
    with pytest.raises(InputError, match=r"it has teacher0/stage1, .*; let each teacher have a loss"):
        tap("teacher", several, "stage1")
    assert tap("teacher", TEACHER, "stage1") is TEACHER["stage1"]


def test_a_method_of_an_objective_takes_its_options_beside_those_of_all():
    def near_objective(*, weight: float = 2.0, shift: int):
        """Says what it does."""
        return Objective(lambda seen, adapted: {"near": shift + 0 * seen.student["logits"][:, 0]}, {"near": weight})

    near, alone = method_of(near_objective, label_weight=0.25), method_of(near_objective, label_weight=None)
    assert near.__name__ == "near" and near.__doc__.startswith("Says what it does.\n\nArgs:\n  student: ")
    assert list(inspect.signature(near).parameters) == [
        "student", "teacher", "tx", "label_weight", "weight", "shift", "axis_name", "micro",
    ]  # fmt: skip
    assert inspect.signature(near).parameters["label_weight"].default == 0.25
    assert "label_weight" not in inspect.signature(alone).parameters

    def metrics(make, **options):
        net, batch = small(), labelled_images()
        method = make(net, net, optax.sgd(0.1), shift=3, **options)
        state = jit_fast_compile(method.init)(KEY, batch, {"teacher": frozen(net)})
        return jax.jit(method.step)(state, batch, KEY)[1]

    found = metrics(near)
    np.testing.assert_allclose(found["loss"], 0.25 * found["cross_entropy"] + 2 * 3, rtol=1e-5)
    found = metrics(near, label_weight=0.0, weight=1.0)
    np.testing.assert_allclose(found["loss"], 3, rtol=1e-6)
    assert set(metrics(alone)) == {"near", "loss"}
    with pytest.raises(TypeError, match="shft"):
        near(small(), small(), optax.sgd(0.1), shft=3)


def taught_by(teacher, given, objective):
    """The student's weights after a step."""
    method = student(staged(), optax.sgd(0.05), combine(labels_objective(), objective), teacher=teacher)
    state = jit_fast_compile(method.init)(KEY, labelled_images(), {"teacher": given})
    state, metrics = jax.jit(method.step)(state, labelled_images(), KEY)
    return student_of(state), metrics


def several(count, seeds):
    nets, each = models.ensemble([staged(width=6)] * count), [frozen(staged(width=6), seed) for seed in seeds]
    return nets, Frozen(tuple(x.params for x in each), tuple(x.stats for x in each), "several")


def test_streams_of_equal_teachers_are_one_teacher():
    alone, _ = taught_by(staged(width=6), frozen(staged(width=6)), methods.offline.at.at_objective(weight=10.0))
    nets, given = several(2, (9, 9))
    both, metrics = taught_by(nets, given, each_teacher(methods.offline.at.at_objective(weight=10.0), 2))
    close(both, alone, atol=1e-6)
    assert metrics["attention_teacher0"] == metrics["attention_teacher1"]
    nets, given = several(2, (9, 4))
    other, metrics = taught_by(nets, given, each_teacher(methods.offline.at.at_objective(weight=10.0), 2))
    assert metrics["attention_teacher0"] != metrics["attention_teacher1"] and not equal(other, alone)
    first, _ = taught_by(nets, given, each_teacher(methods.offline.at.at_objective(weight=10.0), 2, weights=(3.0, 0.0)))
    close(first, alone, atol=1e-6)


def test_each_stream_has_an_adapter_and_the_weights_of_its_teacher():
    _, given = several(2, (9, 4))
    seen = look(STUDENT, {f"teacher{k}/{name}": x + k for k in range(2) for name, x in TEACHER.items()})
    seen = seen.replace(given={"teacher": given})
    whole = each_teacher(methods.offline.fitnet.fitnet_objective(layer="stage1"), 2)
    params, _ = whole.adapter.init(KEY, seen)
    kernels = [params[f"{k}"]["Connector_0"]["conv"]["kernel"] for k in range(2)]
    assert not equal(*kernels)

    def classifier(seen, adapted):
        return {"size": jnp.sum(jnp.abs(seen.given["teacher"].params["classifier"]["kernel"]))}

    sizes = [jnp.sum(jnp.abs(p["classifier"]["kernel"])) for p in given.params]
    streams = each_teacher(Objective(classifier, {"size": 1.0}), 2)
    np.testing.assert_allclose(unweighted(streams, seen), sum(sizes), rtol=1e-5)
    assert streams.weights == {"size_teacher0": 0.5, "size_teacher1": 0.5}


def test_a_stream_sees_nothing_of_other_teachers():
    found = {"init": [], "apply": [], "terms": []}

    def note(where, seen, result):
        found[where].append(seen)
        return result

    adapter = Net(lambda key, seen: note("init", seen, ({}, {})), lambda p, s, seen, **options: note("apply", seen, ({}, {})))
    both = each_teacher(Objective(lambda seen, adapted: note("terms", seen, {"term": 0.0}), {"term": 1.0}, adapter), 2)
    taps = {f"{part}teacher{k}/x": f"{part}{k}" for part in ("", "norm/") for k in range(2)}
    given = {"teacher": Frozen(("p0", "p1"), ("s0", "s1"), "both"), "more": Frozen("m", "m")}
    seen = look(STUDENT, taps | {"logits": "both"}).replace(given=given)
    both.adapter.apply(*both.adapter.init(KEY, seen), seen, train=True)
    both.terms(seen, {})
    for streams in found.values():
        assert [one.teacher for one in streams] == [{"x": f"{k}", "norm/x": f"norm/{k}"} for k in range(2)]
        assert [(one.given["teacher"].params, one.given["teacher"].stats) for one in streams] == [("p0", "s0"), ("p1", "s1")]
        assert all(one.given["more"].params == "m" and one.student is STUDENT for one in streams)


def test_the_mean_of_teachers_is_distilled_as_one():
    nets, given = several(2, (9, 9))
    both, _ = taught_by(nets, given, kd_objective())
    alone, _ = taught_by(staged(width=6), frozen(staged(width=6)), kd_objective())
    close(both, alone, atol=1e-6)


def test_weights_may_be_functions_of_the_step():
    def terms(outputs, adapted):
        return {"sum": jnp.sum(outputs.student["logits"], -1)}

    objective = Objective(terms, {"sum": lambda step: 1.0 * (step % 2)}, needs=())
    method = student(small(), optax.sgd(0.1), objective)
    batch = {"image": jnp.ones((2, 8, 8, 1))}
    state, step, losses = method.init(jax.random.key(0), batch, {}), jax.jit(method.step), []
    for _ in range(3):
        state, metrics = step(state, batch, jax.random.key(1))
        losses.append((metrics["loss"] / metrics["sum"]).item())
    assert losses == [0, 1, 0]


def test_the_docstring_of_a_method_tells_all_its_options_and_what_it_returns():
    for name in methods.__all__:
        if hasattr(method := getattr(methods, name), "objective"):
            args = method.__doc__.partition("Args:\n")[2].partition("\n\n")[0]
            told = re.findall(r"^  (\w+):", args, re.MULTILINE)
            assert sorted(told) == sorted(inspect.signature(method).parameters), name
            assert "Returns:\n  A Method of batches" in method.__doc__
