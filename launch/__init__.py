"""The commands; they need what the extra `run` installs, which is looked for before anything else is imported."""

import sys
from importlib.util import find_spec

_NEEDED = ("ml_collections", "rich", "sklearn", "matplotlib", "PIL", "grain", "array_record", "tensorflow_datasets")

if _missing := [name for name in _NEEDED if find_spec(name) is None]:
    sys.exit(f"error: {', '.join(_missing)} not installed; the launcher needs: pip install -e '.[run]'")
