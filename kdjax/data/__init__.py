"""Data sets on the host, and which rows a step sees."""

from kdjax.data.alter import alter, in_bands, with_channels
from kdjax.data.classes import keep_classes
from kdjax.data.clip import clips
from kdjax.data.companions import companions
from kdjax.data.damaged import Damaged, one_row, read_undamaged
from kdjax.data.domain import domains
from kdjax.data.episode import episodes, support_and_query
from kdjax.data.load import load
from kdjax.data.memory import decoding_threads
from kdjax.data.moments import channel_moments
from kdjax.data.pair import pairs, positive_pairs
from kdjax.data.resident import padded_batches, resident, take
from kdjax.data.sampler import Sampler, epoch_of, epoch_order, epoch_rows, epoch_steps, epochs, pieces, process_rows, spread_rows
from kdjax.data.source import Dataset, Source, array_source, column_source, numbers_of, subset
from kdjax.data.split import few_labels, keep_labels, label_fraction, long_tailed, stratified
from kdjax.data.stream import stream

__all__ = [
    "Damaged",
    "Dataset",
    "Sampler",
    "Source",
    "alter",
    "array_source",
    "channel_moments",
    "clips",
    "column_source",
    "companions",
    "decoding_threads",
    "domains",
    "episodes",
    "epoch_of",
    "epoch_order",
    "epoch_rows",
    "epoch_steps",
    "epochs",
    "few_labels",
    "in_bands",
    "keep_classes",
    "keep_labels",
    "label_fraction",
    "load",
    "long_tailed",
    "numbers_of",
    "one_row",
    "padded_batches",
    "pairs",
    "pieces",
    "positive_pairs",
    "process_rows",
    "read_undamaged",
    "resident",
    "spread_rows",
    "stratified",
    "stream",
    "subset",
    "support_and_query",
    "take",
    "with_channels",
]
