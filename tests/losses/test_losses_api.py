"""What every public loss has in common."""

import inspect
import re

import jax
import pytest

from kdjax import losses

PUBLIC = sorted(losses.__all__)
POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


def test_all_lists_every_public_function():
    defined = {name for name, value in vars(losses).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert defined == set(PUBLIC)
    assert len(PUBLIC) == len(losses.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_arrays_are_positional_and_options_keyword_only(name):
    parameters = list(inspect.signature(getattr(losses, name)).parameters.values())
    arrays = [p for p in parameters if p.kind is POSITIONAL]
    options = [p for p in parameters if p.kind is not POSITIONAL]
    assert arrays
    for p in arrays:
        assert p.default in (inspect.Parameter.empty, None), p  # None: labels that may be left out
        # A container of arrays (several views, several layers) counts as an array.
        assert "Array" in inspect.formatannotation(p.annotation), p
    for p in options:
        assert p.kind is inspect.Parameter.KEYWORD_ONLY, p
        assert p.annotation is not inspect.Parameter.empty, p
    axis = inspect.signature(getattr(losses, name)).parameters.get("axis_name")
    assert axis is None or axis.default is None


def test_temperatures_have_the_papers_value_where_it_has_one():
    options = [(name, p) for name in PUBLIC for p in inspect.signature(getattr(losses, name)).parameters.values()]
    without = {name for name, p in options if "temperature" in p.name and p.default is p.empty}
    assert without == {"symmetric_divergence"}


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring_is_complete(name):
    function = getattr(losses, name)
    text = inspect.getdoc(function) or ""
    for section in ("Args:", "Returns:", "Raises:", "Reference:", ">>> "):
        assert section in text, f"{name} lacks {section}"
    described = set(re.findall(r"^ {2}(\w+)(?:, \w+)*: ", text, re.M))
    assert set(inspect.signature(function).parameters) <= described
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty


def test_kd_is_the_short_name_of_kl_distillation():
    assert losses.kd is losses.kl_distillation


def test_importing_the_losses_touches_no_device():
    # The functions above were imported before; constants made by jax.numpy at import time would be arrays here.
    modules = {inspect.getmodule(getattr(losses, name)) for name in PUBLIC}
    assert not [k for m in modules for k, v in vars(m).items() if isinstance(v, jax.Array)]
