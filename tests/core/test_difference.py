from kdjax.core.difference import difference


def test_the_first_difference_is_named_however_deep():
    old = {"a": 1, "data": {"source": "digits", "dir": "x"}, "seeds": 3}
    assert difference(old, old) == ""
    assert difference(old, {**old, "seeds": 4, "a": 2}) == "config.a=1, this command has 2"
    assert difference(old, {**old, "data": {"source": "npz", "dir": "y"}}, at="", other="b") == "data.source=digits, b has npz"
    assert difference(old, {**old, "data": {"source": "digits", "dir": "y"}}, skip=("data.dir",)) == ""
    assert difference(old, {k: v for k, v in old.items() if k != "a"}) == "config.a"
    assert difference(old, {**old, "b": 2}) == "no config.b"
