"""The experiment of networks that learn side by side."""

import jax
import numpy as np
from contexts import shared

from configs import mutual as peers
from kdjax.experiment.entry import method_section
from kdjax.experiment.mutual import peer_stages


def stage(method, count=3, sweep="", **changed):
    fields = shared()
    with fields["config"].unlocked():
        fields["config"].peers = count
    fields["config"].sweep = sweep
    return peer_stages("student", method_section(method, peers.METHODS, **changed), peers.METHODS, fields)["student"]


def test_every_method_has_so_many_peers():
    for name in peers.METHODS:
        found = stage(name)
        assert list(found.nets) == ["peer0", "peer1", "peer2"] and found.method.needs == (), name


def test_equal_nets_have_starts_of_their_own():
    batch = {"image": np.zeros((2, 8, 8, 1), np.float32), "label": np.zeros(2, int), "index": np.arange(2)}
    state = stage("dml").method.init(jax.random.key(0), batch, {})
    first, second, _ = (jax.tree.leaves(one.params) for one in state.peers)
    assert any((a != b).any() for a, b in zip(first, second, strict=True))


def test_each_peer_of_collaborative_learning_has_a_view():
    batch = {"image": np.zeros((2, 8, 8, 1), np.uint8)}
    keys = jax.random.split(jax.random.key(0), 2)
    assert len(stage("kdcl").augment(keys, batch)["views"]) == 3 and "views" not in stage("dml").augment(keys, batch)


def test_independent_peers_imitate_nobody():
    assert method_section("independent", peers.METHODS)["weight"] == 0.0


def test_options_of_a_method_are_swept():
    found = stage("kdcl", sweep="weight=0.5,1")
    assert found.choose and found.members == 2
