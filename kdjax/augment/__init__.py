"""Pure keyed image transforms that run on the device.

A transform is `f(key, image, *, options) -> image` for ONE image `[H, W, C]`, float32 in [0, 1]; one without randomness
is `f(image, *, options)`. Callers `vmap` over keys and images; `per_image` and `views` do so for a batch.
"""

from kdjax.augment.affine import affine, warp
from kdjax.augment.bands import band_jitter, drop_bands, grey_bands
from kdjax.augment.batch import as_float, compose, per_image, views
from kdjax.augment.blur import gaussian_blur
from kdjax.augment.colour import brightness, colour_jitter, contrast, hue, saturation, solarise, to_grey
from kdjax.augment.corrupt import corrupt
from kdjax.augment.crop import centre_crop, crop_box, pad_crop, random_resized_crop, resize, resize_box
from kdjax.augment.erase import cutout
from kdjax.augment.flip import flip
from kdjax.augment.geometry import Geometry, correspondence, move_boxes, move_mask, move_points
from kdjax.augment.hsv import hsv_to_rgb, rgb_to_hsv
from kdjax.augment.joint import jointly
from kdjax.augment.mix import cutmix, manifold_mixup, mixup, partners
from kdjax.augment.noise import gaussian_noise
from kdjax.augment.photometric import equalise, invert, posterise, sharpness
from kdjax.augment.policies import learned_policies, random_operations
from kdjax.augment.random_apply import random_apply
from kdjax.augment.rotate import random_turn, rotations
from kdjax.augment.tokens import masked_tokens
from kdjax.augment.view_policies import band_views, byol_views, crop_flip_view, grey_views, multi_crop

__all__ = [
    "Geometry",
    "affine",
    "as_float",
    "band_jitter",
    "band_views",
    "brightness",
    "byol_views",
    "centre_crop",
    "colour_jitter",
    "compose",
    "contrast",
    "correspondence",
    "corrupt",
    "crop_box",
    "crop_flip_view",
    "cutmix",
    "cutout",
    "drop_bands",
    "equalise",
    "flip",
    "gaussian_blur",
    "gaussian_noise",
    "grey_bands",
    "grey_views",
    "hsv_to_rgb",
    "hue",
    "invert",
    "jointly",
    "learned_policies",
    "manifold_mixup",
    "masked_tokens",
    "mixup",
    "move_boxes",
    "move_mask",
    "move_points",
    "multi_crop",
    "pad_crop",
    "partners",
    "per_image",
    "posterise",
    "random_apply",
    "random_operations",
    "random_resized_crop",
    "random_turn",
    "resize",
    "resize_box",
    "rgb_to_hsv",
    "rotations",
    "saturation",
    "sharpness",
    "solarise",
    "to_grey",
    "views",
    "warp",
]
