"""Where runs keep what they share: compiled programs, finished stages."""

import os
import stat
import sys
import warnings
from pathlib import Path

from kdjax.core import InputError
from kdjax.core.paths import user_path

_ADVICE = "set KDJAX_CACHE to a folder of your own"


def use_caches() -> None:
    """Compiled programs are kept between processes; JAX_COMPILATION_CACHE_DIR chooses another place.

    Where there is no cache, that is said once, and everything goes on without.
    """
    import jax

    folder, why = _found()
    if folder is None:
        print(f"nothing is kept for other runs: {why}; {_ADVICE}", file=sys.stderr)
    if folder is not None and not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(folder / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # A full disk and a damaged program cost only time: it is compiled again.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")


def stage_cache() -> Path | None:
    """The folder of finished stages, or None where it cannot be written."""
    folder, _ = _found()
    return folder and folder / "stages"


def cache_folder() -> Path:
    """`$KDJAX_CACHE`, or `kdjax` in the user's cache folder.

    Raises:
      InputError: where the user has no home.
    """
    if own := os.environ.get("KDJAX_CACHE"):
        return user_path(own)
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "kdjax"


def _found() -> tuple[Path | None, str]:
    """The cache, made if it is not there, or None and why it cannot be written.

    Raises:
      InputError: for a cache that others can write: they would run code as this user, since compiled programs are code.
    """
    try:
        folder = cache_folder()
    except InputError:
        return None, "there is no home folder"
    try:
        for place in (folder, folder / "stages", folder / "xla"):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_owner(place)
            if not os.access(place, os.W_OK):
                return None, f"{place} cannot be written"
    except OSError as error:
        return None, f"{folder} cannot be written ({error.strerror})"
    return folder, ""


def _check_owner(place: Path) -> None:
    found = place.stat()
    if found.st_uid != os.geteuid():
        whose = f"belongs to another user (uid {found.st_uid})"
    elif found.st_mode & stat.S_IWOTH:
        whose = "can be written by all"
    else:
        return
    raise InputError(f"the cache {place} {whose}, and whoever can write there runs code as you: {_ADVICE}")
