import jax
import optax
import pytest
from cases import CASES, close, start
from peer_lessons import KEY
from tiny_nets import staged

from kdjax import methods
from kdjax.core import InputError


def test_without_its_modules_it_is_ffl():
    cases = [CASES["mfef"](scales=0, reduction=0, feature_weight=0.0, shared=True), CASES["ffl"]()]
    (a, first), (b, second) = (jax.jit(case.method.step)(start(case), case.batch, KEY) for case in cases)
    close(a, b, atol=1e-6)
    close({name: first[name] for name in second}, second, atol=1e-6)


def test_its_modules_are_of_each_peer():
    state = jax.eval_shape(CASES["mfef"]().method.init, KEY, CASES["mfef"]().batch, {})
    modules = {"scales0", "scales1", "attention0", "attention1"}
    assert modules <= set(state.adapter.params) and state.trunk is None


@pytest.mark.parametrize(
    ("nets", "options", "words"),
    [
        ((staged(), staged(width=5)), {}, r"maps of unequal shapes \[4, 4, 6\], \[4, 4, 7\] cannot be fused"),
        ((staged(),) * 2, {}, "scales=4 is not accepted: expected a divisor of the 6 channels of a map"),
        ((staged(),), {}, "peers=1 is not accepted: mutual learning takes at least 2"),
        ((staged(),) * 2, {"temperature": 0}, "temperature=0 is not accepted"),
    ],
)
def test_maps_that_cannot_be_fused_are_refused(nets, options, words):
    with pytest.raises(InputError, match=f"^{words}"):
        method = methods.mfef(nets, optax.sgd(0.1), steps_per_epoch=1, **options)
        jax.eval_shape(method.init, KEY, CASES["mfef"]().batch, {})
