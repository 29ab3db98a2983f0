"""What a network is for, in the words of Hugging Face."""

from collections.abc import Mapping
from typing import Any

from kdjax import models

CLASSIFY, FEATURES = "image-classification", "image-feature-extraction"
SEGMENT, GENERATE = "image-segmentation", "unconditional-image-generation"
CONTINUE = "text-generation"


def task_of(specification: Mapping[str, Any]) -> str:
    """The task of the net of a specification.

    >>> task_of({"name": "conv_net", "classes": 10}), task_of({"name": "generator", "latent": 64})
    ('image-classification', 'unconditional-image-generation')
    """
    if models.is_generator(specification):
        return GENERATE
    if specification["name"] in models.TEXT:
        return CONTINUE
    if specification["name"] in models.DENSE:
        return SEGMENT
    return CLASSIFY if specification.get("classes") else FEATURES
