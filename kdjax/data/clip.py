"""Batches of clips from videos whose frames are rows."""

from collections.abc import Sequence

import numpy as np

from kdjax.core.check import InputError, check_option
from kdjax.data.sampler import CLIPS, Sampler, endless, shuffled


def clips(lengths: Sequence[int] | np.ndarray, *, clips: int, frames: int, stride: int = 1, per_video: int = 1) -> Sampler:
    """Draws clips: `frames` rows of one video, `stride` apart, in order of time.

    An array `[B, ...]` of a step, reshaped to `[clips, frames, ...]`, has an axis of time. Videos go through epochs: each
    comes once, with another start every time.

    Args:
      lengths: frames of each video, `[V]`. The rows of the set are those of the first video, then of the second, and so on.
      clips: clips a step, a multiple of `per_video`.
      frames: frames a clip, 1 or more.
      stride: rows from one frame to the next, 1 or more.
      per_video: clips that are drawn from a video when it comes, next to each other; they start at different frames where
        the video has enough of them.

    Returns:
      A Sampler of `clips * frames` rows a step, in groups of `per_video * frames`. Its epochs are those of the videos.

    Raises:
      InputError: for a video that is shorter than a clip.

    >>> rows = clips([8, 9], clips=2, frames=3, stride=2).rows(0, 0)
    >>> np.diff(rows.reshape(2, 3)).tolist()
    [[2, 2], [2, 2]]
    """
    for name, value in (("frames", frames), ("stride", stride), ("per_video", per_video)):
        check_option(name, value, lambda n: n >= 1, "1 or more")
    several = f"a multiple of per_video={per_video}" if per_video > 1 else "1 or more"
    check_option("clips", clips, lambda n: n >= 1 and n % per_video == 0, several)
    lengths = np.asarray(lengths, np.int64)
    if lengths.ndim != 1 or not lengths.size:
        raise InputError(f"lengths have shape {lengths.shape}: expected the number of frames of each video, [V]")
    span = (frames - 1) * stride + 1
    if lengths.min() < span:
        short = lengths.argmin()
        raise InputError(f"video {short} has {lengths[short]} frames: a clip of {frames} at stride {stride} takes {span}")
    offsets, videos = np.cumsum(lengths) - lengths, clips // per_video
    within = np.arange(frames) * stride

    def rows(seed, step):
        drawn = endless(seed, step * videos, videos, len(lengths), CLIPS)
        parts = []
        for number, video in enumerate(drawn.tolist(), start=step * videos):
            starts = shuffled(int(lengths[video]) - span + 1, seed, number, CLIPS, 1)
            chosen = starts[np.arange(per_video) % len(starts)]
            parts.append((offsets[video] + chosen[:, None] + within).reshape(-1))
        return np.concatenate(parts).astype(np.int32)

    return Sampler(rows, lambda step: int(step * videos // len(lengths)), clips * frames, per_video * frames)
