"""What the words in a method's name, `kd+cutmix`, make of its stages."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp

from kdjax.core import InputError, Method
from kdjax.experiment.entry import Table, options_taken
from kdjax.experiment.words import MIXING, WORDS, parted
from kdjax.methods.recipes import mixed
from kdjax.models import stage_names

Words = Mapping[str, Mapping[str, Any]]  # the options of each


def with_words(settings: dict[str, Any], table: Table) -> tuple[str, dict[str, Any], Words]:
    """`(method, its options, the options of each word)` of the section of a method.

    Raises:
      InputError: for a word that mixes images beside a method that keeps something of each image or its class number.
    """
    name = settings.pop("name")
    method, words = parted(name)
    own = {word: settings.pop(word) for word in words}
    method = method or "supervised" * bool(words)
    if mixing_of(own):
        for part in (part for part in method.split("+") if part in table):
            if options_taken(table[part]) & {"labels", "numbers"}:
                raise InputError(f"method={name!r} is not accepted: {part} keeps something of each image, and these are mixed")
    return method, settings, own


def mixing_of(words: Words) -> str:
    """The word that mixes images, or `""`."""
    return next((word for word in words if word in MIXING), "")


def erased(words: Words, mean: Any) -> tuple[Callable, ...]:
    """The transforms of one image that words ask for: a box of the mean colour."""
    return (
        (partial(WORDS["cutout"], **words["cutout"], fill=jnp.asarray(mean, jnp.float32)[None, None]),) if "cutout" in words else ()
    )


def on_mixed_images(c: Any, make: Callable[..., Any], together: bool) -> Callable[..., Any]:
    """`make` of a stage, with its method on mixed images where a word of the context `c` says so.

    Args:
      c: a `ClassifierContext`.
      make: `c -> Method`, or `c -> (Method, augmentation)`.
      together: whether rows of a batch belong together.

    Raises:
      InputError: where these images or this method cannot be mixed; what a method does not take of them is told by its first step.
    """
    word = mixing_of(c.words)
    if not word:
        return make
    name, options = f"method={'+'.join((c.method, *c.words))!r}", dict(c.words[word])
    inside = word == "manifold_mixup"
    if inside:
        stages = stage_names(c.taps(c.build(c.specification)))
        options["deepest"] = min(options["deepest"], max(0, len(stages) - 1))
    for refused, why in (
        (together, "rows of a batch belong together"),
        ((c.labels < 0).any(), "there are images without a label; --config.labels_per_class=0 knows all"),
        (inside and c.micro > 1, f"it mixes inside a network, whose batch micro={c.micro} cuts"),
        (inside and not stages, "it mixes behind the stages of a network, and this one has none"),
    ):
        if refused:
            raise InputError(f"{name} is not accepted: {why}")

    def made(c):
        found = make(c)
        method, *views = (found,) if isinstance(found, Method) else found
        if inside and method.needs:
            raise InputError(f"{name} is not accepted: a teacher would see the images that the network mixes inside")
        changed = mixed(method, partial(WORDS[word], **options), classes=c.dataset.classes, axis_name=c.axis_name)
        told = _telling(changed, method, name, inside)
        return (told, *views) if views else told

    return made


def _telling(mixed: Method, method: Method, name: str, inside: bool) -> Method:
    """A method on mixed images, of which one line tells where it is that which it does not take."""

    def step(state, batch, key):
        try:
            return mixed.step(state, batch, key)
        except (InputError, TypeError, AttributeError, ValueError, LookupError) as error:  # of other labels, images and taps
            method.step(state, batch, key)  # what is refused all the same is not told of the mixture
            why = str(error) if isinstance(error, InputError) else "it asks for class numbers"
            if inside:
                told = f" ({error})" if isinstance(error, InputError) else ""
                why = f"it asks for class numbers, images or maps of stages, which a network that mixes inside does not give{told}"
            raise InputError(f"{name} is not accepted: {why}") from error

    return mixed._replace(step=step)
