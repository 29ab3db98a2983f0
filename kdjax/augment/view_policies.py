"""Ready views for self-supervised methods. Normalisation belongs to the Net, not here."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from kdjax.augment.affine import affine
from kdjax.augment.bands import band_jitter, drop_bands, grey_bands
from kdjax.augment.batch import compose
from kdjax.augment.blur import gaussian_blur
from kdjax.augment.colour import colour_jitter, solarise, to_grey
from kdjax.augment.crop import random_resized_crop
from kdjax.augment.flip import flip
from kdjax.augment.noise import gaussian_noise
from kdjax.augment.random_apply import random_apply
from kdjax.augment.rotate import random_turn
from kdjax.core.check import check_option

View = Callable[[jax.Array, jax.Array], jax.Array]


def byol_views(
    size: int | tuple[int, int],
    *,
    area: tuple = (0.08, 1.0),
    ratio: tuple = (3 / 4, 4 / 3),
    method: str = "bicubic",
    antialias: bool = True,
    flip_p: float = 0.5,
    jitter_p: float = 0.8,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.2,
    hue: float = 0.1,
    grey_p: float = 0.2,
    blur_p: tuple[float, float] = (1.0, 0.1),
    sigma: tuple = (0.1, 2.0),
    solarise_p: tuple[float, float] = (0.0, 0.2),
) -> tuple[View, View]:
    """The asymmetric pair of BYOL: crop, flip, colour jitter, grey, blur, solarise, clip, in this order.

    Only the probabilities of blur and solarisation differ between the two. Equal ones give the symmetric pairs of other
    methods.

    Args:
      size: height and width of the views, or one number for both.
      area: share of the image's area that a crop covers.
      ratio: width / height of a crop.
      method: `"bicubic"` or `"bilinear"`.
      antialias: whether the kernel widens when a crop shrinks.
      flip_p: probability of a mirror image.
      jitter_p: probability of the colour jitter.
      brightness: its amount, as in `colour_jitter`; likewise the next three.
      contrast: amount.
      saturation: amount.
      hue: amount.
      grey_p: probability of greys.
      blur_p: probabilities of blur in view 1 and view 2.
      sigma: range of the blur's standard deviation, pixels of the view.
      solarise_p: probabilities of solarisation in view 1 and view 2.

    Returns:
      `(view1, view2)`, each `(key, image [H, W, C]) -> [*size, C]` in [0, 1]. Give each its own key.

    Reference:
      Grill, Strub, Altché, Tallec, Richemond et al., Bootstrap Your Own Latent: A New Approach to Self-Supervised
      Learning, NeurIPS 2020, arXiv 2006.07733. Differs from the authors' code in the resizing, which there has no
      antialiasing (`antialias=False`), and in the key of each draw.

    >>> view1, view2 = byol_views(4)
    >>> jax.jit(view2)(jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (4, 4, 3)
    """

    crop = partial(random_resized_crop, size=size, area=area, ratio=ratio, method=method, antialias=antialias)
    jitter = partial(colour_jitter, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue, p=jitter_p)

    def view(blur, solar):
        steps = (
            crop,
            partial(flip, p=flip_p),
            jitter,
            random_apply(lambda key, image: to_grey(image), p=grey_p),
            random_apply(partial(gaussian_blur, sigma=sigma), p=blur),
            random_apply(lambda key, image: solarise(image), p=solar),
        )
        return _compose(*steps)

    return view(blur_p[0], solarise_p[0]), view(blur_p[1], solarise_p[1])


def crop_flip_view(
    size: int | tuple[int, int],
    *,
    area: tuple = (0.2, 1.0),
    ratio: tuple = (3 / 4, 4 / 3),
    method: str = "bicubic",
    antialias: bool = True,
    flip_p: float = 0.5,
) -> View:
    """A weak view: crop and flip, clip. Options as in `byol_views`.

    Args:
      size: height and width of the view, or one number for both.
      area: share of the image's area that a crop covers.
      ratio: width / height of a crop.
      method: `"bicubic"` or `"bilinear"`.
      antialias: whether the kernel widens when a crop shrinks.
      flip_p: probability of a mirror image; 0 for digits and letters.

    Returns:
      `(key, image [H, W, C]) -> [*size, C]` in [0, 1].

    Reference:
      Zheng et al., ReSSL: Relational Self-Supervised Learning with Weak Augmentation, NeurIPS 2021, arXiv 2107.09282.

    >>> jax.jit(crop_flip_view(4))(jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (4, 4, 3)
    """
    crop = partial(random_resized_crop, size=size, area=area, ratio=ratio, method=method, antialias=antialias)
    return _compose(crop, partial(flip, p=flip_p))


def multi_crop(large: tuple[View, ...], small: View, count: int) -> tuple[View, ...]:
    """Large views, then so many small ones, which show a part of the image at a smaller size.

    Args:
      large: usually a pair.
      small: usually of `byol_views` or `crop_flip_view` with a smaller size and area.
      count: of small views.

    Returns:
      All of them in order, for `views`.

    Raises:
      InputError: for a count below 0, or no large view.

    Reference:
      Caron et al., Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, NeurIPS 2020, arXiv 2006.09882:
      two views of 224 pixels and area 0.14 to 1, six of 96 and 0.05 to 0.14.

    >>> [view(jax.random.key(0), jnp.ones((8, 8, 3))).shape for view in multi_crop(byol_views(6), crop_flip_view(3), 1)]
    [(6, 6, 3), (6, 6, 3), (3, 3, 3)]
    """
    check_option("count", count, lambda n: n >= 0, "a whole number, 0 or more")
    check_option("large", len(large), lambda n: n >= 1, "at least one view, for the small ones are compared with it")
    return (*large, *(small,) * count)


def grey_views(
    *,
    rotation: float = 0.35,
    scale: tuple = (0.75, 1.25),
    shear: float = 0.3,
    shift: float = 1.0,
    fill: str = "zero",
    noise: float = 0.0,
    blur_p: float = 0.0,
    sigma: tuple = (0.1, 2.0),
    radius: int | None = 1,
) -> tuple[View, View]:
    """A symmetric pair for small images of 1 channel, such as digits: affine map, blur, noise, clip.

    Args:
      rotation: as in `affine`; likewise the next four.
      scale: range.
      shear: amount.
      shift: pixels.
      fill: `"zero"` or `"edge"`.
      noise: standard deviation of normal noise; 0 for none.
      blur_p: probability of blur.
      sigma: range of the blur's standard deviation, pixels.
      radius: of the blur's kernel, as in `gaussian_blur`; its rule (None) would leave images under 20 rows sharp.

    Returns:
      `(view, view)`, each `(key, image [H, W, C]) -> [H, W, C]` in [0, 1]. Give each its own key.

    >>> view1, view2 = grey_views(noise=0.1)
    >>> jax.jit(view1)(jax.random.key(0), jnp.ones((8, 8, 1))).shape
    (8, 8, 1)
    """
    steps = (
        partial(affine, rotation=rotation, scale=scale, shear=shear, shift=shift, fill=fill),
        random_apply(partial(gaussian_blur, sigma=sigma, radius=radius), p=blur_p),
        partial(gaussian_noise, std=noise),
    )
    view = _compose(*(steps if noise else steps[:2]))
    return view, view


def band_views(
    size: int | tuple[int, int],
    *,
    area: tuple = (0.2, 1.0),
    ratio: tuple = (3 / 4, 4 / 3),
    method: str = "bilinear",
    antialias: bool = True,
    jitter_p: float = 0.8,
    brightness: float = 0.4,
    contrast: float = 0.4,
    each_band: bool = False,
    grey_p: float = 0.2,
    blur_p: float = 0.5,
    sigma: tuple = (0.1, 2.0),
    radius: int | None = None,
    flip_p: float = 0.5,
    upside_p: float = 0.0,
    turn_p: float = 0.0,
    drop_p: float = 0.5,
    drop_most: float = 0.5,
) -> tuple[View, View]:
    """A symmetric pair for images of any number of bands: crop, jitter, grey, blur, flips, turn, drop of bands, clip.

    Args:
      size: height and width of the views, or one number for both; turns need equal ones.
      area: share of the image's area that a crop covers.
      ratio: width / height of a crop.
      method: `"bicubic"` or `"bilinear"`.
      antialias: whether the kernel widens when a crop shrinks.
      jitter_p: probability of `band_jitter`; the next three are its options.
      brightness: amount.
      contrast: amount.
      each_band: whether every band has amounts of its own.
      grey_p: probability of greys, the mean of the bands.
      blur_p: probability of blur.
      sigma: range of the blur's standard deviation, pixels of the view.
      radius: of the blur's kernel, as in `gaussian_blur`; its rule (None) leaves images under 20 rows sharp.
      flip_p: probability of a mirror image.
      upside_p: probability that top and bottom change places.
      turn_p: probability of a turn by a multiple of 90 degrees.
      drop_p: probability that bands are dropped.
      drop_most: the largest part of them.

    Returns:
      `(view, view)`, each `(key, image [H, W, C]) -> [*size, C]` in [0, 1]. Give each its own key.

    Reference:
      Wang, Albrecht, Ait Ali Braham, Mou, Zhu, "Self-supervised Learning in Remote Sensing: A Review", IEEE GRSM 2022, arXiv
      2206.13188, whose views are not turned or put upside down; what differs in its code: `band_jitter`, `drop_bands`.

    >>> jax.jit(band_views(4)[0])(jax.random.key(0), jnp.ones((8, 8, 12))).shape
    (4, 4, 12)
    """
    jitter = partial(band_jitter, brightness=brightness, contrast=contrast, p=jitter_p, each=each_band)
    view = _compose(
        partial(random_resized_crop, size=size, area=area, ratio=ratio, method=method, antialias=antialias),
        jitter,
        random_apply(lambda key, image: grey_bands(image), p=grey_p),
        random_apply(partial(gaussian_blur, sigma=sigma, radius=radius), p=blur_p),
        partial(flip, p=flip_p),
        partial(flip, p=upside_p, upright=False),
        random_apply(partial(random_turn, p=1.0), p=turn_p),
        random_apply(partial(drop_bands, most=drop_most), p=drop_p),
    )
    return view, view


def _compose(*steps: View) -> View:
    return compose(*steps, lambda key, image: jnp.clip(image, 0.0, 1.0))
