import os
import socket

import pytest

from kdjax.core.plain import open_plain


def test_files_and_links_are_opened(tmp_path):
    (tmp_path / "a").write_bytes(b"words")
    (tmp_path / "b").symlink_to("a")
    for name in ("a", "b"):
        with open_plain(tmp_path / name) as file:
            assert file.read() == b"words"


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match=r"a named pipe and no file: '.*'"):
            open_plain(tmp_path / name)
    with pytest.raises(OSError, match="a device and no file"):
        open_plain("/dev/null")
    with pytest.raises(IsADirectoryError):
        open_plain(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        open_plain(tmp_path / "none")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        with pytest.raises(OSError, match="No such device"):
            open_plain(tmp_path / "s")
