import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import CASES, close, start
from own_lessons import KEY, same_as_golden
from tiny_nets import branches_of, frozen, without_batch_norm

from kdjax import methods
from kdjax.core import InputError, Net, with_label_weights
from kdjax.methods.mutual import hssakd as file
from kdjax.methods.recipes import PeerOutputs

METHOD = methods.dml((without_batch_norm(), without_batch_norm()), optax.sgd(0.1))


def test_golden(golden, monkeypatch):
    """The objective of both peers on the authors' logits, of images that are turned already."""
    g = golden("hssakd/online")
    caught = []
    monkeypatch.setattr(file, "side_by_side", lambda nets, tx, objective, **options: caught.append((objective, options)) or METHOD)
    net = Net(lambda key, x: ({}, {}), lambda p, s, x, *, train, key=None: ({}, s))
    methods.hssakd((net, net), (net, net), None, temperature=g["hp_temperature"].item())  # pyright: ignore
    [(objective, options)] = caught
    batch = with_label_weights({"label": jnp.asarray(g["labels"])})

    def loss(logits, joint):
        seen = PeerOutputs(
            tuple(
                [
                    {"logits": z, **{f"joint{i}": q for i, q in enumerate(branch, 1)}}
                    for z, branch in zip(logits, joint, strict=True)
                ]
            ),
            batch,
            KEY,
            jnp.int32(0),
        )
        terms = [objective(seen, k) for k in (0, 1)]
        return sum(options["weights"].get(name, 1.0) * jnp.mean(x) for one in terms for name, x in one.items())

    same_as_golden(g, loss, "logits", "ss")


def test_equal_peers_teach_each_other_nothing():
    case = CASES["hssakd"](joint_weight=0.5)
    nets = (case.nets["peer0"], case.nets["peer0"])
    method = methods.hssakd(nets, [branches_of()] * 2, optax.sgd(0.1))
    state = start(case._replace(method=method))
    twins = state._replace(peers=(state.peers[0], state.peers[0]))
    new, metrics = jax.jit(method.step)(twins, case.batch, KEY)
    assert abs(metrics["peer0_imitation"]) < 1e-5
    close(new.peers[0], new.peers[1], atol=1e-7)


def test_what_is_shipped_has_the_plain_net_s_parameters():
    case = CASES["hssakd"]()
    shapes = jax.eval_shape(case.method.init, KEY, case.batch, {})
    shipped = jax.tree.map(jnp.shape, case.method.weights(shapes)["peer0"][0])
    assert shipped == jax.tree.map(np.shape, frozen(case.nets["peer0"]).params)


def test_images_that_are_not_square_are_refused():
    case = CASES["hssakd"]()
    batch = case.batch | {"image": case.batch["image"][:, :, :6]}
    with pytest.raises(InputError, match="turns by 90 degrees need equal sides"):
        jax.eval_shape(case.method.step, jax.eval_shape(case.method.init, KEY, batch, {}), batch, KEY)


def test_branches_of_each_peer_are_needed():
    with pytest.raises(InputError, match=r"^there are 2 peers and branches of 1: expected those of each"):
        methods.hssakd((without_batch_norm(),) * 2, (branches_of(),), None)  # pyright: ignore
