import jax
import jax.numpy as jnp
import pytest

from kdjax.core import InputError, Net
from kdjax.evaluate import candidate_layers, choose_hint_points, hint_points, linear_cka, similarities
from kdjax.models import resnet8, vit


def test_blocks_are_in_order_and_a_net_without_blocks_has_stages():
    names = [f"stage{s}_block{b}" for s in (2, 1, 10) for b in (2, 10, 1)]
    wanted = [f"stage{s}_block{b}" for s in (1, 2, 10) for b in (1, 2, 10)]
    assert candidate_layers([*names, "stage1", "stage1_block1_preact", "stem", "logits"]) == wanted
    assert candidate_layers(["stage2", "stage1_preact", "stage10", "stem"]) == ["stage2", "stage10"]
    for net, found in ((resnet8(4), [f"stage{k}_block1" for k in (1, 2, 3)]), (vit(4, 8, 2, 2), ["block1", "block2"])):
        taps = jax.eval_shape(lambda net=net: net.apply(*net.init(jax.random.key(0), IMAGES), IMAGES, train=False)[0])
        assert candidate_layers(list(taps)) == found


IMAGES = jax.random.uniform(jax.random.key(0), (40, 8, 8, 1))


def groups(params, stats, x, *, train, key=None):
    """Six blocks, two of each of three kinds; `params` turns each block's channels."""
    assert not train
    kinds = [x[:, :2, :2, 0], x[:, 4:6, :2, 0], x[:, :2, 4:6, 0]]
    taps = {}
    for n in range(6):
        y = kinds[n // 2].reshape(len(x), 1, 1, 4) @ params[n]
        taps[f"stage1_block{n + 1}"] = jnp.concatenate([y - 1, y + 1], 1)  # places whose mean is y
    return taps, stats


PARAMS = jax.random.normal(jax.random.key(1), (6, 4, 4))
NET = Net(lambda key, x: (PARAMS, {}), groups)


@pytest.mark.parametrize("metric", ["r2_cca", "linear_cka", "rbf_cka"])
def test_each_kind_of_layer_gives_one_point(metric):
    batches = [IMAGES[:24], IMAGES[24:]]
    found = choose_hint_points(NET, PARAMS, {}, iter(batches), 3, metric=metric, update="medoid")
    assert [int(name[-1]) // 2 + int(name[-1]) % 2 for name in found] == [1, 2, 3]


def test_points_are_the_centres_of_clusters_of_all_images():
    found = choose_hint_points(NET, PARAMS, {}, [IMAGES[:24], IMAGES[24:]], 2, metric="linear_cka")
    taps, _ = groups(PARAMS, {}, IMAGES, train=False)
    layers = [x.mean((1, 2)) for x in taps.values()]
    names = list(taps)
    assert found == tuple(names[i] for i in hint_points(1 - similarities(layers, layers, linear_cka), 2))


def test_refusals():
    with pytest.raises(InputError, match=r"^k=7 is not accepted: expected 1 to 6"):
        choose_hint_points(NET, PARAMS, {}, [IMAGES], 7)
    with pytest.raises(InputError, match="metric 'cosine' is not known"):
        choose_hint_points(NET, PARAMS, {}, [IMAGES], 2, metric="cosine")
    with pytest.raises(InputError, match="batches=0 is not accepted"):
        choose_hint_points(NET, PARAMS, {}, [], 2)
