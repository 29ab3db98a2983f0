"""An augmentation whose probabilities and magnitudes can be learned."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from kdjax.augment._image import check_image, happens
from kdjax.augment.affine import warp
from kdjax.augment.colour import brightness, contrast, solarise, to_grey
from kdjax.augment.erase import cutout
from kdjax.augment.photometric import equalise, invert, posterise, sharpness
from kdjax.core.check import InputError, check_option

Policy = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def learned_policies(
    key: jax.Array,
    image: jax.Array,
    *,
    picked: jax.Array,
    logits: jax.Array,
    magnitudes: jax.Array,
    temperature: float | jax.Array = 0.05,
) -> jax.Array:
    """The image with the changes of some policies added up, in a form that has gradients by probabilities and magnitudes.

        x + sum over picked i of p_i (o_i(x, m_i) - x),   p_i = sigmoid((logits_i + logistic noise) / temperature)

    and m_i = sigmoid(magnitudes_i). `POLICIES` is the order: first those with a magnitude, `LEARNED`, then the fixed ones. At
    m = 1 they are as strong as in AutoAugment: brightness, colour, contrast and sharpness by a factor of 1 +- 0.9, 4 bits, all
    pixels above 0 solarised, shear +- 0.3, shift by +- 0.45 of the side, rotation by +- 30 degrees, the sign drawn. `posterise`
    blends whole numbers of bits, and the gradient of `solarise` is that of a soft threshold.

    Args:
      key: random key of this image.
      image: `[H, W, C]` in [0, 1], of 1 or 3 channels.
      picked: int32 `[n]`, the policies to apply, each at most once.
      logits: `[14]`, one a policy: its log-odds.
      magnitudes: `[11]`, one for each of `LEARNED`, before the sigmoid.
      temperature: of the relaxed coins, above 0; near 0 they are heads or tails.

    Returns:
      `[H, W, C]`, not clipped: a sum of changes may leave [0, 1].

    Raises:
      InputError: for a bad shape or option.

    Reference:
      Shao et al., "Teaching What You Should Teach: A Data-Based Distillation Method", IJCAI 2023, arXiv 2212.05422, whose policies
      are small networks fitted to these operations; the strengths: Cubuk et al., "AutoAugment", CVPR 2019, arXiv 1805.09501.

    >>> image, invert = jnp.full((4, 4, 1), 0.25), POLICIES.index("invert")
    >>> certain = jnp.zeros(14).at[invert].set(100.0)
    >>> learned_policies(
    ...     jax.random.key(0), image, picked=jnp.array([invert]), logits=certain, magnitudes=jnp.zeros(11)
    ... )[0, 0].tolist()
    [0.75]
    """
    check_image(image)
    check_option("temperature", temperature, lambda t: t > 0, "a number above 0")
    if logits.shape != (len(POLICIES),) or magnitudes.shape != (len(LEARNED),):
        wanted = f"({len(POLICIES)},) and ({len(LEARNED)},)"
        raise InputError(f"logits {logits.shape} and magnitudes {magnitudes.shape} are not accepted: expected {wanted}")
    strengths = jnp.concatenate([jax.nn.sigmoid(magnitudes), jnp.zeros(len(POLICIES) - len(LEARNED))])

    def change(whole, number):
        key_coin, key_policy = jax.random.split(jax.random.fold_in(key, number))
        coin = jax.nn.sigmoid((logits[number] + jax.random.logistic(key_coin)) / temperature)
        changed = lax.switch(number, tuple(_OPERATIONS.values()), key_policy, image, strengths[number])
        return whole + coin * (changed - image), None

    return lax.scan(change, image, picked)[0]


def random_operations(key: jax.Array, image: jax.Array, *, count: int = 2, p: float | jax.Array = 0.5) -> jax.Array:
    """A few changes one after another, each drawn from `POLICIES` and of a random strength: the core of a strong view.

    Args:
      key: random key.
      image: `[H, W, C]` in [0, 1], of 1 or 3 channels.
      count: draws, with replacement.
      p: probability that a draw is carried out.

    Returns:
      `[H, W, C]` in [0, 1].

    Raises:
      InputError: for a bad shape or option.

    Reference:
      Cubuk et al., "RandAugment", CVPRW 2020, arXiv 1909.13719, in the form of Sohn et al., "FixMatch", NeurIPS 2020, arXiv
      2001.07685, whose pool has autocontrast and the identity in place of inversion and cutout.

    >>> jax.jit(random_operations)(jax.random.key(0), jnp.ones((4, 4, 3))).shape
    (4, 4, 3)
    """
    check_image(image)
    check_option("count", count, lambda n: int(n) == n >= 0, "a whole number, 0 or more")

    def change(image, key):
        key_coin, key_pick, key_strength, key_policy = jax.random.split(key, 4)
        number = jax.random.randint(key_pick, (), 0, len(_OPERATIONS))
        changed = lax.switch(number, tuple(_OPERATIONS.values()), key_policy, image, jax.random.uniform(key_strength))
        return jnp.where(happens(key_coin, p), jnp.clip(changed, 0.0, 1.0), image), None

    return lax.scan(change, image, jax.random.split(key, count))[0]


def _signed(key, strength):
    return jnp.where(jax.random.bernoulli(key), strength, -strength)


def _factor(key, strength):
    return 1.0 + 0.9 * _signed(key, strength)


def _colour(key, image, strength):
    grey = to_grey(image)
    return jnp.clip(grey + _factor(key, strength) * (image - grey), 0.0, 1.0)


def _solarise(key, image, strength):
    threshold = 1.0 - strength
    soft = image + jax.nn.sigmoid((image - threshold) / 0.1) * (1.0 - 2.0 * image)
    return soft + lax.stop_gradient(solarise(image, threshold=threshold) - soft)


def _moved(image, matrix, shift=(0.0, 0.0)):
    return warp(image, matrix=jnp.asarray(matrix), shift=jnp.asarray(shift))


def _rotate(key, image, strength):
    angle = jnp.deg2rad(30.0) * _signed(key, strength)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _moved(image, ((cos, -sin), (sin, cos)))


_OPERATIONS: dict[str, Policy] = {
    "brightness": lambda key, x, m: brightness(x, delta=0.9 * _signed(key, m), mode="scale"),
    "colour": _colour,
    "contrast": lambda key, x, m: contrast(x, factor=_factor(key, m)),
    "sharpness": lambda key, x, m: sharpness(x, factor=_factor(key, m)),
    "posterise": lambda key, x, m: posterise(x, bits=8.0 - 4.0 * m),
    "solarise": _solarise,
    "shear_x": lambda key, x, m: _moved(x, ((1.0, 0.3 * _signed(key, m)), (0.0, 1.0))),
    "shear_y": lambda key, x, m: _moved(x, ((1.0, 0.0), (0.3 * _signed(key, m), 1.0))),
    "translate_x": lambda key, x, m: _moved(x, ((1.0, 0.0), (0.0, 1.0)), (0.45 * x.shape[1] * _signed(key, m), 0.0)),
    "translate_y": lambda key, x, m: _moved(x, ((1.0, 0.0), (0.0, 1.0)), (0.0, 0.45 * x.shape[0] * _signed(key, m))),
    "rotate": _rotate,
    "equalise": lambda key, x, m: equalise(x),
    "invert": lambda key, x, m: invert(x),
    # Half the side; the released code has all of it, which may leave nothing.
    "cutout": lambda key, x, m: cutout(key, x, size=(max(x.shape[0] // 2, 1), max(x.shape[1] // 2, 1))),
}
POLICIES = tuple(_OPERATIONS)
LEARNED = POLICIES[:11]
