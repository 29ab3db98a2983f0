"""Everything wrong that a user can type ends with exit code 2 and one line, and leaves nothing behind."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from launching import TINY, refused, snapshot, write_npz
from made import encoded, pixels, write_tfds
from PIL import Image

ROOT = Path(__file__).parents[2]
CONFIG = "from configs import quickstart\nget_config = quickstart.get_config\nbuild = quickstart.build\n"
STUDENT = "--config.student_training"

# id: (words, what the line must say). {w} is a folder that is not there yet, {d} holds the files of `place` below.
TABLE = {
    "flag": ("--wrokdir=x", "'--wrokdir=x' is not known; accepted: --workdir"),
    "flag without dashes": ("seeds=3", "'seeds=3' is not known"),
    "stray word": ("--config.seeds=2 hello", "'hello' is not known; accepted"),
    "value after a space": ("--config.seeds 3", "'--config.seeds' has no value: expected --config.seeds=<value>"),
    "list with a value": ("--list=all", "--list"),
    "config without a value": ("--config", "--config: expected one argument"),
    "field": ("--config.sedes=2", "field --config.sedes is not known; accepted: seeds"),
    "nested field": (f"{STUDENT}.optimiser.learning_rat=1", "optimiser.learning_rat is not known; accepted: learning_rate"),
    "nested section": ("--config.optimizer.learning_rate=1", "field --config.optimizer is not known"),
    "field below a value": ("--config.seeds.x=1", "--config.seeds.x is not known; accepted: --config.seeds=<value> itself"),
    "section": ("--config.data=digits", "--config.data is a section; accepted: --config.data."),
    "int": ("--config.seeds=two", "--config.seeds='two' is not accepted: expected a whole number"),
    "int with a fraction": ("--config.data.batch=64.5", "--config.data.batch='64.5'"),
    "int with another digit": ("--config.seeds=²", "--config.seeds='²' is not accepted: expected a whole number"),
    "int without end": ("--config.seeds=" + 30 * "9", "expected a whole number"),
    "float": ("--config.smoothing=some", "--config.smoothing='some' is not accepted: expected a number"),
    "float nan": ("--config.smoothing=nan", "--config.smoothing='nan' is not accepted: expected a finite number"),
    "bool": (f"{STUDENT}.optimiser.nesterov=maybe", "nesterov='maybe' is not accepted: expected true or false"),
    "tuple": (f"{STUDENT}.net.widths=(4,a)", "widths='(4,a)' is not accepted: expected values with commas"),
    "tuple of floats": (f"{STUDENT}.net.widths=(4,8.5)", "expected values of type int with commas"),
    "tuple of words": (f"{STUDENT}.optimiser.drops=('a',)", "expected values of type float, int"),
    "seeds": ("--config.seeds=0", "--config.seeds=0 is not accepted: expected a whole number, 1 or more"),
    "seed": ("--config.seed=-1", "--config.seed=-1 is not accepted: expected a whole number, 0 or more"),
    "batch": ("--config.data.batch=0", "--config.data.batch=0"),
    "batch above the data": (
        "--config.data.batch=4000",
        "data.batch=4000 is not accepted: expected 1 to 1211, the training images",
    ),
    "epochs": (f"{STUDENT}.epochs=0", "--config.student_training.epochs=0"),
    "micro": (f"{STUDENT}.micro=3", "student_training.micro=3 is not accepted: expected a divisor of data.batch=64"),
    "learning rate": (f"{STUDENT}.optimiser.learning_rate=-0.1", "learning_rate=-0.1 is not accepted: expected a number above 0"),
    "weight decay": (f"{STUDENT}.optimiser.weight_decay=-1", "weight_decay=-1.0 is not accepted: expected a number, 0 or more"),
    "momentum": (f"{STUDENT}.optimiser.momentum=1", "momentum=1.0 is not accepted: expected a number, 0 or more and below 1"),
    "drops": (f"{STUDENT}.optimiser.drops=(0.5,1.5)", "drops=(0.5, 1.5) is not accepted: expected fractions of the run"),
    "drops out of order": (
        f"{STUDENT}.optimiser.schedule=steps {STUDENT}.optimiser.drops=(0.7,0.5)",
        "drops=(0.7, 0.5) is not accepted: expected fractions of the run, above 0 and below 1, ascending",
    ),
    "drops of no steps": (f"{STUDENT}.optimiser.drops=(0.5,)", "drops=(0.5,) is not accepted with schedule='cosine'"),
    "float of Python": (f"{STUDENT}.optimiser.learning_rate=1_0", "learning_rate='1_0' is not accepted: expected a number"),
    "float of other digits": (f"{STUDENT}.optimiser.learning_rate=１", "learning_rate='１' is not accepted: expected a number"),
    "tuple of Python's ints": (f"{STUDENT}.net.widths=(1_6,)", "widths='(1_6,)' is not accepted: expected values with commas"),
    "tuple of hexadecimals": (f"{STUDENT}.net.widths=0x10", "widths='0x10' is not accepted: expected values with commas"),
    "weight": ("--config.method.weight=-1", "--config.method.weight=-1.0 is not accepted: expected a number, 0 or more"),
    "weight of a sum": (
        "--config=configs/quickstart.py:method=at+sp --config.method.sp.weight=-1",
        "--config.method.sp.weight=-1.0 is not accepted: expected a number, 0 or more",
    ),
    "weight of another name": (
        "--config=configs/quickstart.py:method=dkd --config.method.alpha=-1",
        "the weight of 'true_class'=-1.0 is not accepted: expected a number, 0 or more",
    ),
    "no weight": (
        "--config.method.weight=0 --config.method.label_weight=0",
        "the weights of cross_entropy, distillation are all 0: expected one above 0",
    ),
    "another method's name": (
        "--config.method.name=dkd",
        "method.name='dkd' is not accepted: the section holds the options of kd; use the variant, --config=",
    ),
    "another method's name with the same fields": (
        "--config=configs/quickstart.py:method=sp --config.method.name=ickd",
        "method.name='ickd' is not accepted: the section holds the options of sp",
    ),
    "field of another section": ("--config.temperature=3", "--config.temperature is not known; accepted: method.temperature"),
    "field of a section below": (
        f"{STUDENT}.widths=3",
        "--config.student_training.widths is not known; accepted: student_training.net.widths",
    ),
    "variant twice": (
        "--config=configs/quickstart.py:method=kd,method=at",
        "variant 'method=kd,method=at' is not accepted: it names method twice",
    ),
    "float too large": ("--config.method.weight=1e300", "weight='1e300' is not accepted: expected a number of single precision"),
    "float too near to 0": ("--config.method.temperature=1e-300", "temperature='1e-300' is not accepted: expected a number of"),
    "cache in a file": (
        "--config.data.augment=affine --config.cache.views=2 --config.cache.dir={d}/text.txt/x",
        "text.txt/x cannot be written (Not a directory): expected a folder, or a place for one",
    ),
    "cache where nothing can be": (
        "--config.data.augment=affine --config.cache.views=2 --config.cache.dir=/proc/none/x",
        "--config.cache.dir=/proc/none/x cannot be written (",
    ),
    "cache of no views": ("--config.cache.top=3", "--config.cache.top=3 is not accepted with --config.cache.views=0"),
    "cache of no views, taps": ("--config.cache.taps=logits,pooled", "is not accepted with --config.cache.views=0"),
    "warmup": (f"{STUDENT}.optimiser.warmup_epochs=1000", "warmup_epochs=1000.0 is not accepted: expected fewer than the"),
    "smoothing": ("--config.smoothing=1", "--config.smoothing=1.0"),
    "few labels": ("--config.labels_per_class=200", "--config.labels_per_class=200 is not accepted: "),
    "temperature": ("--config.method.temperature=0", "temperature=0.0"),
    "val_fraction": ("--config.data.val_fraction=1", "--config.data.val_fraction=1.0"),
    "widths": (f"{STUDENT}.net.widths=(4,0)", "widths=(4, 0) is not accepted: expected one or more numbers of at least 1"),
    "save": ("--config.save_epochs=7", "save_epochs=7 is not accepted: expected a multiple of --config.evaluate_epochs=5"),
    "best": ("--config.select=best --config.data.val_fraction=0", "--config.select='best' is not accepted: it needs validation"),
    "precision": ("--config.precision=float23", "--config.precision='float23' is not accepted: expected one of float32"),
    "net": (f"{STUDENT}.net.name=conv_nte", "net.name='conv_nte' is not accepted: expected one of conv_net"),
    "net with other fields": (f"{STUDENT}.net.name=resnet8", "it takes no widths, unlike this section's fields; use the variant"),
    "optimiser": (f"{STUDENT}.optimiser.name=adma", "optimiser.name='adma' is not accepted: expected one of adam"),
    "optimiser alone": (
        f"{STUDENT}.optimiser.name=lars",
        "optimiser.name='lars' is not accepted alone: the learning rate is that of sgd; give "
        "--config.student_training.optimiser.learning_rate= too",
    ),
    "field of the optimiser before": (
        f"{STUDENT}.optimiser.nesterov=true {STUDENT}.optimiser.name=lars {STUDENT}.optimiser.learning_rate=0.1",
        "--config.student_training.optimiser.nesterov is not known; accepted: teacher_training.optimiser.nesterov",
    ),
    "variant of lars": (
        f"{STUDENT}.optimiser.name=lars {STUDENT}.optimiser.learning_rate=0.1 {STUDENT}.optimiser.variant=lamb",
        "optimiser.variant='lamb' is not accepted: expected one of larc, byol, fast_moco, revisit_airl",
    ),
    "option of another lars": (
        f"{STUDENT}.optimiser.name=lars {STUDENT}.optimiser.learning_rate=0.1 {STUDENT}.optimiser.clip_ratio=true",
        "clip_ratio=True is not accepted: expected False, or the variant 'larc'",
    ),
    "end of no cosine": (
        f"{STUDENT}.optimiser.schedule=constant {STUDENT}.optimiser.last_share=0.1",
        "optimiser.last_share=0.1 is not accepted with schedule='constant', which does not end so: expected 0",
    ),
    "schedule": (f"{STUDENT}.optimiser.schedule=cosin", "schedule='cosin' is not accepted: expected one of cosine"),
    "augmentation": ("--config.data.augment=crop_flap", "data.augment='crop_flap' is not accepted: expected one of crop_flip"),
    "method": ("--config.method.name=dk", "method 'dk' is not known; accepted: dkd, kd"),
    "variant": ("--config=configs/quickstart.py:nett=kd", "variant 'nett=kd' is not known; accepted: method=<name>"),
    "variant without =": ("--config=configs/quickstart.py:kd", "variant 'kd' is not known"),
    "variant of method": ("--config=configs/quickstart.py:method=kdd", "method 'kdd' is not known; accepted: kd"),
    "variant of net": ("--config=configs/quickstart.py:student=resnet9", "net 'resnet9' is not known; accepted: resnet"),
    "config file": (
        "--config=configs/quikstart.py",
        "config file 'configs/quikstart.py' is not there; accepted: configs/quickstart.py",
    ),
    "config folder": ("--config=configs", "config file 'configs' is not there"),
    "config with another ending": ("--config={d}/text.txt", "expected a name that ends in .py"),
    "config without build": ("--config={d}/no_build.py", "expected functions get_config(variant) and build(config)"),
    "config that does not parse": ("--config={d}/syntax.py", "line 2"),
    "config that fails": ("--config={d}/fails.py", "NameError: name 'nothing' is not defined (line 2)"),
    "config of another type": ("--config={d}/dict.py", "expected an ml_collections.ConfigDict from get_config"),
    "config without seeds": ("--config={d}/no_seeds.py", "has no field seeds"),
    "workdir empty": ("--workdir=", "--workdir='' is not accepted"),
    "workdir a file": ("--workdir={d}/text.txt", "is a file: expected a folder"),
    "workdir below a file": ("--workdir={d}/text.txt/run", "cannot be written (Not a directory)"),
    "workdir foreign": ("--workdir={d}/foreign", "holds 'thesis.txt' and no run: expected an empty folder or a run's folder"),
    "workdir with a damaged config": ("--workdir={d}/damaged", "config.json is damaged"),
    "workdir with another config": ("--workdir={d}/other", "config.json is not that of a run"),
    "devices": ("--config.devices=9", "--config.devices=9 is not accepted: expected 0 to 8, the devices there are"),
    "batch for devices": ("--config.devices=3", "--config.data.batch=64 is not accepted: expected a multiple of 3, the devices"),
    "source": ("--config.data.source=digit", "data source 'digit' is not known; accepted: digits"),
    "source digits with a path": ("--config.data.source=digits:x", "data source 'digits:x' is not known"),
    "npz missing": ("--config.data.source=npz:{d}/none.npz", "none.npz: no such file"),
    "npz a folder": ("--config.data.source=npz:{d}", "is a directory"),
    "npz no archive": ("--config.data.source=npz:{d}/text.txt", "is no npz file"),
    "npz truncated": ("--config.data.source=npz:{d}/truncated.npz", "is damaged"),
    "npz with a flipped byte": ("--config.data.source=npz:{d}/flipped.npz", "is damaged"),
    "npz pickled": ("--config.data.source=npz:{d}/pickled.npz", "array 'train_labels' holds pickled objects"),
    "npz rank": ("--config.data.source=npz:{d}/rank.npz", "train_images has shape (64, 16): expected [N, H, W] or [N, H, W, C]"),
    "image size beyond memory": (
        "--config.data.image_size=1000000",
        "image_size=1000000: one image would take 2.7 TiB of memory, ",
    ),
    "batch beyond memory": (
        "--config.data.image_size=20000 --config.data.batch=1208",
        "--config.data.batch=1208: so many images of 20000x20000x1 would take 1.8 TiB of memory, ",
    ),
    "train images of classes without one": (
        "--config.data.source=npz:{d}/holes.npz --config.data.train_images=8",
        "--config.data.train_images=8 is not accepted: classes without a training image: 2 of 4 (1, 2)",
    ),
    "npz classes": ("--config.data.source=npz:{d}/classes.npz", "has 256 classes by its labels, which count from 0, and 64"),
    "npz dtype": ("--config.data.source=npz:{d}/dtype.npz", "train_images is float32: expected uint8"),
    "npz labels": ("--config.data.source=npz:{d}/labels.npz", "test_labels hold 7: expected 0 to 2"),
    "npz lengths": ("--config.data.source=npz:{d}/lengths.npz", "train_labels has 63 entries, train_images 64"),
    "npz empty": ("--config.data.source=npz:{d}/empty.npz", "and so no pixels"),
    "npz key": ("--config.data.source=npz:{d}/key.npz", "array 'test_labels' is missing; the file holds: test_label"),
    "npz of one class": ("--config.data.source=npz:{d}/one.npz", "has 1 class: expected images of 2 classes or more"),
    "npz below the batch": ("--config.data.source=npz:{d}/fine.npz --config.data.batch=72", "expected 1 to 5"),
    "folder missing": ("--config.data.source=folder:{d}/none", "no such directory"),
    "npz unlabelled": ("--config.data.source=npz:{d}/unlabelled.npz", "has no labels: expected images of 2 classes or more"),
    "npz with labelled test images": ("--config.data.source=npz:{d}/half.npz", "has no labels of training images: expected"),
    "folder unlabelled": ("--config.data.source=folder:{d}/flat", "has no labels: expected images of 2 classes or more"),
    "orientation of digits": ("--config.data.exif_orientation=true", "'digits': exif_orientation=True is not accepted: "),
    "folder with a text": ("--config.data.source=folder:{d}/broken", "bad.png: cannot be decoded"),
    "folder with a truncated image": ("--config.data.source=folder:{d}/cut", "3.jpg: cannot be decoded"),
    "tfds without a folder": ("--config.data.source=tfds:tiny --config.data.dir={d}/none", "none is not there; expected --config"),
    "tfds without the set": ("--config.data.source=tfds:tinny --config.data.dir={d}/tfds", "no set 'tinny'; found there: tiny"),
    "tfds without the version": (
        "--config.data.source=tfds:tiny:2.0.0 --config.data.dir={d}/tfds",
        "has no version '2.0.0'; accepted: 1.0.0",
    ),
    "tfds of TensorFlow's format": ("--config.data.source=tfds:foreign --config.data.dir={d}/tfds", "tfrecord"),
    "tfds without labels": ("--config.data.source=tfds:bare --config.data.dir={d}/tfds", "has no feature 'label'"),
    "tfds with a damaged shard": ("--config.data.source=tfds:torn --config.data.dir={d}/tfds", "damaged"),
    "packed, but no packed set": ("--config.data.source=array_record:{d}/flat", "flat: holds no dataset.json"),
    "reader": ("--config.data.reader=stream", "--config.data.reader='stream' is not accepted: expected one of"),
    "corrupt": ("--config.data.corrupt=ignore", "--config.data.corrupt='ignore' is not accepted: expected one of"),
    "workers": ("--config.data.workers=-1", "--config.data.workers=-1 is not accepted: expected a whole number, 0 or more"),
    "crop": ("--config.data.crop=9", "--config.data.crop=9 is not accepted: expected 0 to 8, the side of the images"),
    "parallel": ("--config.parallel=pjit", "--config.parallel='pjit' is not accepted: expected one of"),
    "fsdp": ("--config.fsdp=3", "--config.fsdp=3 is not accepted: expected a divisor of 8, the devices of the run"),
    "fsdp with pmap": (
        "--config.fsdp=2 --config.parallel=pmap",
        "fsdp=2 is not accepted with parallel='pmap': expected parallel='jit'",
    ),
    "one process of many": ("--process=1", "--coordinator is missing: expected --coordinator=<host:port>"),
    "coordinator": ("--coordinator=here --processes=2 --process=0", "--coordinator='here' is not accepted: expected <host:port>"),
    "port": (
        "--coordinator=host:99999 --processes=2 --process=1",
        "--coordinator='host:99999' is not accepted: expected <host:port> of process 0, a port from 1 to 65535",
    ),
    "no port": ("--coordinator=host:0 --processes=2 --process=0", "--coordinator='host:0' is not accepted"),
    "an address without brackets": ("--coordinator=::1:80 --processes=2 --process=0", "--coordinator='::1:80' is not accepted"),
    "process": ("--coordinator=localhost:1 --processes=2 --process=2", "--process=2 is not accepted: expected 0 to 1"),
    "processes": ("--coordinator=localhost:1 --processes=two --process=0", "--processes='two' is not accepted: expected a whole"),
    "distributed twice": ("--distributed --process=0", "--distributed finds out --process by itself"),
    "distributed alone": ("--distributed", "--distributed found no SLURM, Open MPI, Kubernetes or a TPU pod around this process"),
    "teacher missing": ("--config.teacher={d}/none", "none is not accepted"),
    "teacher no run": ("--config.teacher={d}/foreign", "holds no finished run"),
    "teacher of other classes": (
        "--config.teacher={run} --config.data.source=npz:{d}/grey8.npz --config.labels_per_class=0 --config.data.batch=16",
        "it has 10 classes, the data has 3",
    ),
    "teacher of other channels": (
        "--config.teacher={run} --config.data.source=npz:{d}/rgb.npz",
        "it does not take images (8, 8, 3)",
    ),
    "teacher of another architecture": (
        "--config=configs/quickstart.py:teacher=resnet8 --config.teacher=tests/golden/parity/checkpoint_zip.pth",
        "checkpoint_zip.pth is refused: conv1.weight is (2, 3, 3, 3) in the file, resnet8 has (16, 1, 3, 3)",
    ),
    "teacher pickled": (
        "--config=configs/quickstart.py:teacher=resnet8 --config.teacher=tests/golden/parity/payload_legacy.pth",
        "payload_legacy.pth is refused: its pickle names 'posix.system'",
    ),
    "teacher a web page": ("--config.teacher={d}/page.pth", "page.pth is refused: it is a web page, of a download that failed"),
    "teacher mean": (
        "--config.teacher_mean=(0.1,0.2,0.3)",
        "--config.teacher_mean=(0.1, 0.2, 0.3) is not accepted: expected a number for each of the 1 channel",
    ),
    "teacher std": (
        "--config.teacher_mean=(0.1,) --config.teacher_std=(0.0,)",
        "--config.teacher_std=(0.0,) is not accepted: expected numbers above 0",
    ),
    "teacher mean of a run": (
        "--config.teacher={run} --config.teacher_mean=0.1 --config.teacher_std=0.3",
        "run has its own; leave it ()",
    ),
    "ssl method": ("--config=configs/ssl.py:method=simsam", "method 'simsam' is not known; accepted: simsiam"),
    "moco queue": ("--config=configs/ssl.py:method=moco --config.method.queue=1000", "expected a multiple of the batch, 128"),
    "deepcluster prototypes": (
        "--config=configs/ssl.py:method=deepcluster_v2 --config.method.prototypes=5000",
        "prototypes=5000 is not accepted: expected 1 to 1347, the number of images",
    ),
    "swav prototypes": (
        "--config=configs/ssl.py:method=swav --config.method.prototypes=5000",
        "--config.method.prototypes=5000 is not accepted: expected at most 1347, the number of images",
    ),
    "simclr batch": (
        "--config=configs/ssl.py:method=simclr --config.data.batch=1 --config.devices=1",
        "in training is given 1 row",
    ),
    "whitened rows": ("--config=configs/ssl.py:method=w_mse --config.method.size=32", "expected more rows than dimensions"),
    "dino temperature": (
        "--config=configs/ssl.py:method=dino --config.method.teacher_temperature=0.0",
        "teacher_temperature=0.0 is not accepted: expected a number above 0",
    ),
    "small views": (
        "--config=configs/ssl.py:method=swav,views=crop --config.views.small.count=2 --config.views.small.size=12",
        "--config.views.small.size=12 is not accepted: expected 1 to 8, the side of the large views",
    ),
    "crops larger than the image": (
        "--config=configs/ssl.py:method=swav,views=crop --config.views.crop.area=(0.5,1.5)",
        "area=(0.5, 1.5) is not accepted: expected a pair (low, high), 0 < low <= high <= 1",
    ),
    "small views without a large one": (
        "--config=configs/ssl.py:method=relicv2 --config.method.large=0 --config.views.small.count=2",
        "large=0 is not accepted: expected a whole number of at least 2",
    ),
    "negatives": (
        "--config=configs/ssl.py:method=relicv2 --config.method.negatives=128",
        "negatives=128 is not accepted: expected fewer than the batch, 128, or 0 for all others",
    ),
    "swav queue": ("--config=configs/ssl.py:method=swav --config.method.queue=100", "expected a multiple of the batch, 128"),
    "swav frozen": ("--config=configs/ssl.py:method=swav --config.method.frozen_epochs=-1", "frozen_epochs=-1 is not accepted"),
    "dino frozen": ("--config=configs/ssl.py:method=dino --config.method.frozen_epochs=-1", "frozen_epochs=-1 is not accepted"),
    "last momentum": ("--config=configs/ssl.py:method=moco --config.method.last_momentum=2", "last_momentum=2.0 is not accepted"),
    "share of twist_labels": ("--config=configs/ssl.py:method=twist_labels --config.method.share=0", "share=0.0 is not accepted"),
    "first stage of twist_labels": (
        "--config=configs/ssl.py:method=twist_labels --config.method.first.lam2=some",
        "first.lam2='some' is not accepted: expected a number",
    ),
    "mae of no transformer": ("--config=configs/ssl.py:method=mae", "encoder='conv_net' is not accepted: expected a transformer"),
    "lc_loss of no maps": (
        "--config=configs/ssl.py:method=lc_loss,encoder=vit --config.encoder_training.net.patch=2",
        "a net with stages is needed: expected the taps 'stage1'",
    ),
    "setting": ("--config=configs/ssl.py:setting=cifar", "setting 'cifar' is not known; accepted: cifar10"),
    "method of a setting": (
        "--config=configs/ssl.py:method=lc_loss,setting=cifar10",
        "setting=cifar10 has no published values of lc_loss; it has those of barlow_twins, byol",
    ),
    "patches": ("--config=configs/ssl.py:method=fast_moco --config.method.split=3", "expected a divisor of the sides of a view"),
    "byol tau": ("--config=configs/digits_byol.py --config.method.tau=1.5", "tau=1.5 is not accepted"),
    "byol scale": ("--config=configs/digits_byol.py --config.views.affine.scale=(1.5,0.5)", "scale=(1.5, 0.5) is not accepted"),
    "byol labels": ("--config=configs/digits_byol.py --config.probe.per_class=500", "per_class=500 is not accepted: class"),
    "byol neighbours": (
        "--config=configs/digits_byol.py --config.probe.neighbours=5000",
        "expected 1 to 1347, the labelled images",
    ),
    "byol fractions": (
        "--config=configs/digits_byol.py --config.probe.fractions=0.001,",
        "--config.probe: fraction=0.001 is not accepted: of the 134 examples of class 0 it is less than one",
    ),
    "byol ways": (
        "--config=configs/digits_byol.py --config.probe.episodes=5 --config.probe.ways=30",
        "--config.probe: ways=30 is not accepted: expected 2 to 10, the classes of the set",
    ),
    "byol best": ("--config=configs/digits_byol.py --config.select=best --config.data.val_fraction=0.1", "--config.select='best'"),
    "byol micro": ("--config=configs/digits_byol.py --config.encoder_training.micro=2", "encoder_training.micro=2"),
    "datafree steps": ("--config=configs/digits_datafree.py --config.method.student_steps=0", "student_steps=0"),
    "pool": ("--config=configs/data_free.py:method=cmi --config.method.pool=64", "pool=64 is not accepted: it must hold the 128"),
    "warm-up": ("--config=configs/data_free.py:method=fast_dfkd --config.method.warm_up=40", "warm_up=40 is not accepted"),
    "objective": ("--config=configs/data_free.py:objective=fsp", "method 'fsp' cannot be a part of a sum"),
    "objective of labels": ("--config=configs/data_free.py:objective=crd", "objective 'crd' is not accepted: it needs the labels"),
    "setting without data": (
        "--config=configs/data_free.py:method=cgdd,setting=cifar10",
        "setting=cifar10 has no published values of cgdd",
    ),
    "last layer": ("--config=configs/data_free.py --config.generator.last=relu", "last='relu' is not accepted: expected 'sigmoid'"),
    "datafree latent": ("--config=configs/digits_datafree.py --config.method.latent=0", "latent=0"),
    "datafree generator": ("--config=configs/digits_datafree.py --config.generator.features=0", "--config.generator.features=0"),
    "datafree rate": (
        "--config=configs/digits_datafree.py --config.student_steps_per_epoch=0",
        "--config.student_steps_per_epoch=0",
    ),
    "rates": ("--config.baseline_rates=(0.1,-1.0)", "baseline_rates=(0.1, -1.0) is not accepted: expected numbers above 0"),
    "rates without validation": ("--config.data.val_fraction=0", "validation images choose among baseline_rates"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Files and folders that are wrong, each in its own way."""
    d = tmp_path_factory.mktemp("place")
    (d / "text.txt").write_text("words\n")
    (d / "no_build.py").write_text("def get_config(variant):\n    pass\n")
    (d / "syntax.py").write_text("x = 1\ndef get_config(:\n")
    (d / "fails.py").write_text("x = 1\ny = nothing\n")
    (d / "dict.py").write_text("def get_config(variant):\n    return {}\n\ndef build(config):\n    pass\n")
    (d / "no_seeds.py").write_text(
        CONFIG + "def get_config(variant):\n    c = quickstart.get_config()\n    del c.seeds\n    return c\n"
    )
    for name, content in {"foreign/thesis.txt": "mine", "damaged/config.json": "{", "other/config.json": '{"a": 1}'}.items():
        (d / name).parent.mkdir(exist_ok=True)
        (d / name).write_text(content)
    write_npz(d / "fine.npz")
    write_npz(d / "grey8.npz", size=8)
    write_npz(d / "rgb.npz", size=8, channels=3)
    write_npz(d / "one.npz", classes=1)
    whole = (d / "fine.npz").read_bytes()
    (d / "truncated.npz").write_bytes(whole[: len(whole) // 2])
    at = zipfile.ZipFile(d / "fine.npz").getinfo("train_images.npy").header_offset + 300
    (d / "flipped.npz").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with np.load(d / "fine.npz") as archive:
        fine = dict(archive)
    changes = {
        "pickled": {"train_labels": np.array([{}] * 64, object)},
        "rank": {"train_images": fine["train_images"].reshape(64, 16)},
        "dtype": {"train_images": fine["train_images"].astype(np.float32)},
        "labels": {"test_labels": np.full(16, 7)},
        "lengths": {"train_labels": fine["train_labels"][1:]},
        "holes": {"train_labels": np.array([0, 3] * 32), "test_labels": np.full(16, 3)},
        "classes": {"train_labels": np.array([0, 255] * 32)},
        "empty": {"train_images": fine["train_images"][:0], "train_labels": fine["train_labels"][:0]},
    }
    for name, change in changes.items():
        np.savez(d / f"{name}.npz", **fine | change)
    np.savez(d / "unlabelled.npz", train_images=fine["train_images"])
    np.savez(d / "half.npz", **{k: v for k, v in fine.items() if k != "train_labels"})
    np.savez(d / "key.npz", **{k if k != "test_labels" else "test_label": v for k, v in fine.items()})
    for folder in ("flat", "broken/a", "broken/b", "none_inside"):
        (d / folder).mkdir(parents=True)
    for i in range(5):
        for folder in ("flat", "broken/a", "broken/b"):
            Image.new("L", (4, 4), 40 * i).save(d / folder / f"{i}.png")
    (d / "broken/b/bad.png").write_text("no image")
    for kind in ("cut/a", "cut/b"):
        (d / kind).mkdir(parents=True)
        for i, image in enumerate(pixels(8, 16)):
            (d / kind / f"{i}.jpg").write_bytes(encoded(image, "JPEG"))
    (d / "cut/b/3.jpg").write_bytes((d / "cut/b/3.jpg").read_bytes()[:-60])
    for name, changed in {"tiny": {}, "foreign": {}, "bare": {"label": None}, "torn": {}}.items():
        folder = write_tfds(d / "tfds", name, changed=changed)
        if name == "foreign":
            (folder / "dataset_info.json").write_text(
                (folder / "dataset_info.json").read_text().replace("array_record", "tfrecord")
            )
        if name == "torn":
            shard = next(folder.glob("*train*00000-of*"))
            shard.write_bytes(shard.read_bytes()[:-40])
    (d / "words.png").write_text("no image either")
    (d / "page.pth").write_text("<!DOCTYPE html><title>404</title>")
    Image.new("L", (4, 4)).save(d / "fine.png")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(d / "deep.png")
    return d


@pytest.mark.parametrize("row", TABLE)
def test_wrong_input_is_refused_in_one_line(row, launch, place, run, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    words, said = TABLE[row]
    words = words.format(d=place, run=run[0]).split(" ")
    if not any(w.startswith("--workdir") for w in words):
        words.append(f"--workdir={tmp_path / 'run'}")
    before = snapshot(place), snapshot(run[0]), sorted(ROOT.glob("runs/*"))
    refused(launch(*words), said)
    assert before == (snapshot(place), snapshot(run[0]), sorted(ROOT.glob("runs/*")))
    assert not any(tmp_path.iterdir())


def test_the_same_words_without_the_mistake_are_accepted(run):
    # Else the table above could pass for any command.
    assert run[1].code == 0 and run[1].err == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config.seeds=3"], "holds a run with config.seeds=2, this command has 3: choose another --workdir"),
        (
            ["--config=configs/quickstart.py:student=resnet8"],
            "holds a run of quickstart.py, this command is one of quickstart.py:student",
        ),
        (["--config=configs/digits_byol.py"], "holds a run of quickstart.py, this command is one of digits_byol.py"),
    ],
)
def test_another_run_in_the_folder_is_refused(launch, run, words, said, monkeypatch):
    monkeypatch.chdir(ROOT)
    before = snapshot(run[0])
    tiny = TINY if "=configs" not in words[0] else ()
    refused(launch(f"--workdir={run[0]}", *tiny, *words), said)
    assert snapshot(run[0]) == before


def test_folder_without_permission_is_refused(launch, tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: "locked" not in str(path))  # root may write anywhere
    refused(launch(f"--workdir={tmp_path / 'locked'}"), f"--workdir={tmp_path / 'locked'} cannot be written (Permission denied)")


PREDICT = {
    "nothing": ("", "expected a run's folder and at least one image"),
    "no image": ("{run}", "expected a run's folder and at least one image"),
    "flag": ("{run} {d}/fine.png --topp=2", "--topp=2"),
    "run missing": ("{d}/none {d}/fine.png", "none holds no finished run"),
    "run foreign": ("{d}/foreign {d}/fine.png", "foreign holds no finished run"),
    "run damaged": ("{d}/damaged {d}/fine.png", "config.json is damaged"),
    "image missing": ("{run} {d}/none.png", "none.png is not there"),
    "image a text": ("{run} {d}/words.png", "words.png: cannot be decoded"),
    "image of 16 bits": ("{run} {d}/deep.png", "deep.png: has more than 8 bits a channel"),
    "one of two a text": ("{run} {d}/fine.png {d}/words.png", "words.png: cannot be decoded"),
    "folder without images": ("{run} {d}/none_inside", "none_inside holds no image: expected files that end in .bmp"),
    "top 0": ("{run} {d}/fine.png --top=0", "--top='0' is not accepted: expected a whole number, 1 or more"),
    "top word": ("{run} {d}/fine.png --top=all", "--top='all'"),
    "top above": ("{run} {d}/fine.png --top=11", "--top=11 is not accepted: expected 1 to 10"),
    "seed": ("{run} {d}/fine.png --seed=2", "--seed=2 is not accepted: the run has members 0 to 1"),
    "seed below 0": ("{run} {d}/fine.png --seed=-1", "--seed='-1'"),
    "stage": ("{run} {d}/fine.png --stage=studnet", "stage 'studnet' is not in"),
    "csv": ("{run} {d}/fine.png --csv={d}/none/x.csv", "the folder"),
    "csv a folder": ("{run} {d}/fine.png --csv={d}/foreign", "foreign"),
    "features a text": (
        "{run} {d}/fine.png --features={d}/x.txt",
        "x.txt is not accepted: expected the name of a file that ends in .npz",
    ),
    "features in no folder": ("{run} {d}/fine.png --features={d}/none/x.npz", "the folder"),
    "neighbours no picture": ("{run} {d}/fine.png --neighbours={d}/x.jpg", "expected the name of a file that ends in .png"),
    "neighbours of one": (
        "{run} {d}/fine.png --neighbours={d}/x.png --features={d}/x.npz",
        "--neighbours is not accepted: expected 2 images or more",
    ),
    "features and top": ("{run} {d}/fine.png --features={d}/x.npz --top=2", "--top is not accepted with --features"),
    "neighbours and csv": ("{run} {d}/fine.png --neighbours={d}/x.png --csv={d}/x.csv", "--csv is not accepted with --neighbours"),
}


@pytest.mark.parametrize("row", PREDICT)
def test_wrong_input_to_predict_is_refused_in_one_line(row, classify, place, run):
    words, said = PREDICT[row]
    before = snapshot(place), snapshot(run[0])
    refused(classify(*words.format(d=place, run=run[0]).split()), said)
    assert before == (snapshot(place), snapshot(run[0]))


@pytest.mark.parametrize(
    ("program", "words", "said"),
    [
        ("main", ["--config.sedes=2"], "accepted: seeds"),
        ("main", ["--config={d}/syntax.py"], "line 2"),
        ("main", ["--workdir=/proc/nothing/run", *TINY], "--workdir=/proc/nothing/run cannot be written"),
        ("predict", ["{d}/none", "{d}/fine.png"], "holds no finished run"),
    ],
)
def test_the_programs_themselves_refuse(program, words, said, place, tmp_path):
    command = [sys.executable, ROOT / f"launch/{program}.py", *(w.format(d=place) for w in words)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and said in done.stderr and done.stderr.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_the_records_say_which_config_it_was(run):
    assert json.loads((run[0] / "config.json").read_text())["file"] == "quickstart.py"
