"""Trained networks as files to hand on: weights as safetensors, and a model card that says what they are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import kdjax
from kdjax import models
from kdjax.core.files import remove, write_text
from kdjax.core.printable import printable
from launch.run.model_card import card, files_of, members_of, seed_of
from launch.table import protocol


def export(folder: Path, about: dict, summary: dict, results: Mapping[str, Any], stages: Mapping[str, Any]) -> None:
    """Writes `export/<stage>/`: a file of weights for each member and network, and `README.md`, the card; all of it or nothing.

    Args:
      folder: the run's.
      about: what config.json holds.
      summary: what summary.json holds.
      results: the Result of each stage.
      stages: the Stage of each; networks that `models.build` cannot make are left out.
    """
    writing = folder / ".export.partial"
    remove(writing)
    writing.mkdir()
    for stage, result in results.items():
        nets = {name: specification for name, specification in stages[stage].nets.items() if name in result.weights}
        if not nets:
            continue
        place = writing / stage
        place.mkdir()
        for file, network, i in files_of(nets, members_of(result.weights[next(iter(nets))])):
            weights = jax.tree.map(lambda x, i=i: np.asarray(x[i]), result.weights[network])
            told = _metadata(about, summary, stage, network, i, stages[stage].about)
            models.write_weights(place / file, weights["params"], weights["stats"], nets[network], about=told)
        write_text(place / "README.md", card(about, summary, stage, result, stages[stage]))
    if not any(writing.iterdir()):
        return remove(writing)
    remove(folder / "export")
    writing.rename(folder / "export")


def _metadata(about, summary, stage, network, i, made) -> dict[str, str]:
    """What a program needs to know of a file, and a person who has nothing but it."""
    measures = {key.partition("/")[2]: x["values"] for key, x in summary["results"].items() if key.startswith(f"{stage}/")}
    return {
        "names": json.dumps(about["data"]["names"]),
        "shape": json.dumps(about["data"]["shape"]),
        "crop": json.dumps(about["data"]["crop"]),
        "exif_orientation": json.dumps(about["data"].get("exif_orientation", False)),
        "data": printable(protocol.place_free(about["data"]["source"])),
        "data_sha256": about["data"]["digest"],
        "stage": stage,
        "network": network,
        "method": str(made.get("method", summary["method"])),
        "seed": str(seed_of(summary, i)),
        "results": json.dumps({name: values[i] for name, values in measures.items() if i < len(values)}),
        "version": kdjax.__version__,
        "commit": about.get("git") or "",
    }
