"""The experiment of networks that learn side by side."""

import jax
import numpy as np
from contexts import shared

from configs import mutual as peers
from kdjax.experiment.entry import method_section
from kdjax.experiment.mutual import peer_stages
from kdjax.methods.mutual.kdcl import refresh_shares


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


def test_the_general_target_is_found_anew_every_epoch():
    found = stage("kdcl", target="general")
    assert found.refresh is refresh_shares and found.refresh_every == 15
    assert stage("kdcl").refresh is None


def test_methods_are_held_against_peers_that_do_not_imitate():
    config = peers.get_config("methods=independent/dml/one")
    found = peers.build(config).compare
    own = {pair for pair in found if pair[1].startswith("independent")}
    results = ("test_mean_accuracy", "test_ensemble_accuracy")
    assert own == {(f"{name}/{result}", f"independent/{result}") for name in ("dml", "one") for result in results}
    assert ("one/test_accuracy", "student_alone/test_accuracy") in found
    assert not any(pair[1].startswith("independent") for pair in peers.build(peers.get_config("methods=dml/one")).compare)


def test_spans_of_epochs_are_a_part_of_the_run():
    assert peers.get_config("method=one").method.warmup_epochs == 8  # 80 of 300, here of 30


def test_independent_peers_imitate_nobody():
    assert method_section("independent", peers.METHODS)["weight"] == 0.0


def test_options_of_a_method_are_swept():
    found = stage("kdcl", sweep="weight=0.5,1")
    assert found.choose and found.members == 2
