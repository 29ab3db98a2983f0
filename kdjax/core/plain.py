"""Files that somebody names are opened without waiting for them."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_plain(path: str | Path) -> BinaryIO:
    """Opens a file for reading in binary.

    A named pipe without a writer would be waited for without end, and a device may never end: they are refused.

    Args:
      path: the file, or a link to it.

    Raises:
      OSError: as `open` does; its `strerror` tells also what is no plain file.

    >>> open_plain("/dev/zero")
    Traceback (most recent call last):
    OSError: [Errno 22] a device and no file: '/dev/zero'
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # of a pipe this returns at once
    kind = os.fstat(handle).st_mode
    if stat.S_ISREG(kind):
        return open(handle, "rb")
    os.close(handle)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, f"{'a named pipe' if stat.S_ISFIFO(kind) else 'a device'} and no file", str(path))
