import os

import pytest

from kdjax.core.check import InputError
from kdjax.data.tree import ENDING, HIDDEN, Unread, images_below, inside


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_images_and_folders_in_alphabetical_order(tmp_path):
    touch(tmp_path, "c/b.png", "c/a.JPG", "c/.hidden/x.png", "c/z/1.png", "c/y/w/1.png", "c/y.txt")
    unread = Unread()
    assert inside(tmp_path, "c", unread) == (["c/a.JPG", "c/b.png"], ["c/y", "c/z"])
    assert images_below(tmp_path, "c", Unread()) == ["c/a.JPG", "c/b.png", "c/y/w/1.png", "c/z/1.png"]
    (note,) = unread.notes()
    assert "1 hidden (c/.hidden)" in note and "1 with another ending than an image's (.txt; the first c/y.txt)" in note


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "to").symlink_to("../b")
    (tmp_path / "b" / "to").symlink_to("../a")
    (tmp_path / "b" / "gone.png").symlink_to("nothing")  # who reads it is told
    unread = Unread()
    assert images_below(tmp_path, "a", unread) == ["a/1.png", "a/to/2.png", "a/to/gone.png"]
    assert unread.notes() == ("not read: 1 leading back to a folder above (a/to/to)",)


def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.png")
    for error, said in ((PermissionError(13, "x"), "no permission to read it"), (OSError(5, "I/O error"), "cannot be read .I/O")):

        def fail(*_, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", fail)
            with pytest.raises(InputError, match=f"^folder {tmp_path / 'a'}: {said}"):
                images_below(tmp_path, "a", Unread())


def test_notes_are_short():
    unread = Unread()
    assert unread.notes() == ()
    for n in range(7):
        unread.add(ENDING, f"f.e{n}")
        unread.add(HIDDEN, f".{n}")
    endings = ".e0, .e1, .e2, .e3, .e4 and 2 more; the first f.e0"
    assert unread.notes() == (f"not read: 7 with another ending than an image's ({endings}), 7 hidden (the first .0)",)
