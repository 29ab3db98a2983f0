import jax

from kdjax.core import Learner
from kdjax.core.tree_paths import by_path, path_name


def test_leaves_are_named_by_where_they_lie_in_their_order():
    tree = {"heads": [1, (2, 3)], "body": Learner({"w": 4}, {}, None), "a": 5}
    assert by_path(tree) == {"a": 5, "body/params/w": 4, "heads/0": 1, "heads/1/0": 2, "heads/1/1": 3}
    assert list(by_path(tree).values()) == jax.tree.leaves(tree)


def test_a_bare_leaf_has_no_name():
    assert by_path(7) == {"": 7} and path_name(()) == ""
