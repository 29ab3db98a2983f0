"""Pages of the docstrings: all can be shown, links within them lead somewhere, and nothing of others is overwritten."""

import inspect
import re

import pytest
from launching import call, refused

import kdjax
from launch import document


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    out = tmp_path_factory.mktemp("pages") / "api"
    answer = call(document, f"--out={out}")
    assert (answer.code, answer.err) == (0, ""), answer  # a warning of Sphinx is an error
    return out


def test_every_public_function_and_class_is_there_with_its_arguments(pages):
    for part in kdjax.__all__:
        if part != "load":
            package, text = getattr(kdjax, part), (pages / f"{part}.html").read_text()
            found = {name: getattr(package, name) for name in package.__all__}
            ours = {name: one for name, one in found.items() if getattr(one, "__module__", "").startswith("kdjax")}
            shown = [name for name, one in ours.items() if inspect.isfunction(one) or inspect.isclass(one)]
            assert not [(part, name) for name in shown if f'id="kdjax.{part}.{name}"' not in text]
    assert 'href="train.html#kdjax.train.load"' in (pages / "index.html").read_text()
    assert "label_weight" in (pages / "methods.html").read_text() and "arXiv" in (pages / "losses.html").read_text()


def test_links_lead_to_pages_and_places_that_are_there(pages):
    texts = {path.relative_to(pages).as_posix(): path.read_text() for path in pages.rglob("*.html")}
    for name, text in texts.items():
        for target, place in re.findall(r'href="(?!https?:|mailto:)([^"#?]*)[^"#]*#?([^"]*)"', text):
            path = (pages / name).parent / target if target else pages / name
            assert path.resolve().exists(), (name, target)
            if place and path.suffix == ".html":
                assert f'id="{place}"' in texts[path.resolve().relative_to(pages.resolve()).as_posix()], (name, target, place)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    refused(call(document, f"--out={tmp_path}"), "expected an empty folder, or one of such pages")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
