"""Data sets on the host, and which rows a step sees."""

from kdjax.data.load import load
from kdjax.data.resident import padded_batches, resident, take
from kdjax.data.sampler import epoch_of, epoch_order, epoch_rows, process_rows
from kdjax.data.source import Dataset, Source, array_source
from kdjax.data.split import few_labels, keep_labels, stratified

__all__ = [
    "Dataset",
    "Source",
    "array_source",
    "epoch_of",
    "epoch_order",
    "epoch_rows",
    "few_labels",
    "keep_labels",
    "load",
    "padded_batches",
    "process_rows",
    "resident",
    "stratified",
    "take",
]
