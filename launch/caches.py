"""Where runs keep what they share: compiled programs, finished stages."""

import os
from pathlib import Path


def use_caches() -> None:
    """Compiled programs are kept between processes; JAX_COMPILATION_CACHE_DIR chooses another place."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def cache_folder() -> Path:
    """`$KDJAX_CACHE`, or `kdjax` in the user's cache folder."""
    above = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("KDJAX_CACHE") or above / "kdjax")


def stage_cache() -> Path | None:
    """The folder of finished stages, or None where it cannot be written."""
    folder = cache_folder() / "stages"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None
