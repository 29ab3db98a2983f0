"""Small data sets on disk, made by the tests that read them."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(n, size=8, channels=1, seed=0):
    """Random images, uint8 [n, size, size, channels]."""
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels)).astype(np.uint8)


def encoded(image, kind="PNG", orientation=None):
    """The bytes of an image file, with an EXIF orientation where one is named."""
    file, exif = io.BytesIO(), Image.Exif()
    if orientation is not None:
        exif[274] = orientation
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, kind, **({"exif": exif} if exif else {}))
    return file.getvalue()


def example(image, label, **more):
    """A record as TFDS writes it; `image` are the bytes of a file."""
    from tensorflow_datasets.proto import tf_example_pb2

    message = tf_example_pb2.Example()
    message.features.feature["image"].bytes_list.value.append(image)
    message.features.feature["label"].int64_list.value.append(label)
    for key, value in more.items():
        message.features.feature[key].bytes_list.value.append(value)
    return message.SerializeToString()


def write_shard(path, records):
    """A file of array_record."""
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


_FEATURES = "tensorflow_datasets.core.features."
IMAGE, LABEL = _FEATURES + "image_feature.Image", _FEATURES + "class_label_feature.ClassLabel"


def write_tfds(
    directory,
    name="tiny",
    version="1.0.0",
    splits=None,
    names=("cat", "dog"),
    shape=(8, 8, 1),
    dtype="uint8",
    shards=2,
    changed=None,
):
    """A set as TFDS prepares it, in `<directory>/<name>/<version>/`, without TensorFlow; returns that folder.

    Args:
      splits: `{split: records}`; default 12 images to train and 6 to test, as `tfds_images` gives them.
      shape: of an image, None for an open size.
      changed: further features by name, None to leave one out.
    """
    folder = Path(directory) / name / version
    folder.mkdir(parents=True)
    splits = splits or {split: tfds_records(n, seed) for seed, (split, n) in enumerate((("train", 12), ("test", 6)))}
    lines = []
    for split, records in splits.items():
        parts = [list(part) for part in np.array_split(np.array(records, object), shards)] if records else []
        for k, part in enumerate(parts):
            write_shard(folder / f"{name.split('/')[0]}-{split}.array_record-{k:05d}-of-{shards:05d}", part)
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        lines.append({"name": split, "shardLengths": [str(len(p)) for p in parts], "numBytes": "1", "filepathTemplate": template})
    dimensions = [str(-1 if n is None else n) for n in shape]
    features = {
        "image": {"pythonClassName": IMAGE, "image": {"dtype": dtype, "shape": {"dimensions": dimensions}}},
        "label": {"pythonClassName": LABEL, "classLabel": {"numClasses": str(len(names))}},
    } | (changed or {})
    features = {key: value for key, value in features.items() if value is not None}
    of_set = {"pythonClassName": _FEATURES + "features_dict.FeaturesDict", "featuresDict": {"features": features}}
    info = {"name": name.split("/")[0], "version": version, "fileFormat": "array_record", "splits": lines}
    if "/" in name:
        info["configName"] = name.split("/")[1]
    (folder / "features.json").write_text(json.dumps(of_set))
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "label.labels.txt").write_text("\n".join(names) + "\n")
    return folder


def tfds_images(n, seed, classes=2, **options):
    """The images and labels of which `tfds_records` makes records."""
    return pixels(n, seed=seed, **options), np.arange(n, dtype=np.int32) % classes


def tfds_records(n, seed, **options):
    images, labels = tfds_images(n, seed, **options)
    return [example(encoded(image), int(label)) for image, label in zip(images, labels, strict=True)]
