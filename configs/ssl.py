"""An encoder without labels by any self-supervised method, on handwritten digits, probed with ten labels a class.

    python launch/main.py --config=configs/ssl.py:method=byol --workdir=runs/byol
    python launch/main.py --config=configs/ssl.py:method=dino,encoder=resnet18,views=crop --config.data.source=npz:cifar10.npz
    python launch/main.py --config=configs/ssl.py:method=byol,setting=cifar10 --workdir=runs/byol_cifar10

The stage `untrained` is the same encoder before training, its batch statistics taken from the images. Images of your own need no
labels: `--config.data.source=folder:<dir>` or `npz:<path>`; the probe learns from what labels there are, or is left out. Views are
`affine` for small grey images, `crop` for photographs or `bands` for images of any number of bands. Queues, prototypes and momenta
are set for a few thousand images; those of the papers are the defaults of the builders in `kdjax.methods`, and `setting=cifar10` or
`setting=imagenet` takes the images, nets, views, rates and epochs of published runs, as `configs/settings` has them.
"""

from functools import partial
from typing import Any

from ml_collections import ConfigDict

from configs.settings import cifar10, imagenet
from kdjax import augment, methods, models
from kdjax.core import InputError, by_part, check_option, pick
from kdjax.experiment import representation, sections
from kdjax.experiment.entry import Entry, Table, first_stage, methods_section
from kdjax.experiment.representation import as_online
from kdjax.methods.siamese.deepcluster_v2 import refresh_clusters


def train_barlow_twins(c):
    """Three layers without biases below norms."""
    return methods.barlow_twins(c.encoder, c.mlp_head(layers=3, hidden_bias=False), c.tx, **c.options), c.two_views()


def train_byol(c):
    """Projector and predictor of one shape."""
    predictor = c.predictor() if c.config.head.predictor else None
    return methods.byol(c.encoder, c.mlp_head(), predictor, c.tx, **c.options), c.two_views()


def deepcluster_stages(c):
    """Two layers; the images are clustered again behind each epoch."""
    projector = c.mlp_head(out_bias=True)

    def make(c):
        return methods.deepcluster_v2(c.encoder, c.mlp_head(out_bias=True), c.tx, **c.options), c.multi_crop()

    refresh = refresh_clusters(projector, numbers=c.numbers)
    return c.stage(make, refresh=refresh, refresh_every=c.steps_per_epoch)


def train_dino(c):
    """Three layers with GELU and without norms, in front of as many directions as there are outputs."""
    projector = c.mlp_head(layers=3, norm=False, out_bias=True, activation="gelu")
    return methods.dino(c.encoder, projector, c.tx, **c.options), c.multi_crop()


def train_fast_moco(c):
    """Three layers that end in batch norm, and a bottleneck."""
    projector, predictor = c.mlp_head(layers=3, last_norm="affine"), c.predictor(c.config.head.out // 4, out_bias=True)
    return methods.fast_moco(c.encoder, projector, predictor, c.tx, **c.options), c.two_views()


def train_lc_loss(c):
    """As BYOL, and a head of the same form for every place of the last map; views say where they come from."""
    method = methods.lc_loss(c.encoder, c.mlp_head(), c.predictor(), c.mlp_head(), c.tx, **c.options)
    return method, c.two_views(geometry=True)


def mae_stages(c, *, decoder_depth=2, decoder_width=0, decoder_heads=0):
    """A decoder of a few blocks, by default (0) as wide as the encoder, which is a transformer; one view."""
    net = c.specification
    check_option("encoder", net["name"], lambda _: "patch" in net, "a transformer whose patches can be hidden, as encoder=vit")

    def make(c):
        width = decoder_width or c.taps(c.encoder)["pooled"].shape[-1]
        sizes = {"width": width, "depth": decoder_depth, "heads": decoder_heads or net.get("heads", max(width // 64, 1))}
        decoder = models.patch_decoder(net["patch"], c.dataset.shape[-1], **sizes, dtype=models.DTYPES[c.config.precision])
        return methods.mae(c.encoder, decoder, c.tx, patch=net["patch"], **c.options), augment.views(c.pair()[0])

    return c.stage(make)


def train_moco(c):
    """Two layers without norms."""
    return methods.moco(c.encoder, c.mlp_head(norm=False, out_bias=True), c.tx, **c.options), c.two_views()


def train_moco_v2_plus(c):
    """Projector and predictor of one shape, with biases throughout; without those of the last layers where both sides are alike."""
    projector, predictor = (make(out_bias=not c.options["predictor_follows"]) for make in (c.mlp_head, c.predictor))
    return methods.moco_v2_plus(c.encoder, projector, predictor, c.tx, **c.options), c.two_views()


def train_moco_v3(c):
    """The projector ends in plain batch norm, the predictor does not."""
    projector, predictor = c.mlp_head(hidden_bias=False, last_norm="plain"), c.predictor(hidden_bias=False)
    return methods.moco_v3(c.encoder, projector, predictor, c.tx, **c.options), c.two_views()


def train_msbreg(c):
    """Projector and predictor of one shape."""
    return methods.msbreg(c.encoder, c.mlp_head(), c.predictor(), c.tx, **c.options), c.two_views()


def train_nnclr(c):
    """Three layers that end in batch norm, and a predictor of two."""
    projector, predictor = c.mlp_head(layers=3, last_norm="affine"), c.predictor(out_bias=True)
    return methods.nnclr(c.encoder, projector, predictor, c.tx, **c.options), c.two_views()


def train_relicv2(c):
    """Projector and predictor of one shape, on as many large views as asked for and the small ones."""
    return methods.relicv2(c.encoder, c.mlp_head(), c.predictor(), c.tx, **c.options), c.multi_crop(large=c.options["large"])


def train_ressl(c):
    """Two layers without norms, on a strong and a weak view."""
    return methods.ressl(c.encoder, c.mlp_head(norm=False, out_bias=True), c.tx, **c.options), c.strong_and_weak()


def train_simclr(c):
    """Two layers that end in batch norm."""
    return methods.simclr(c.encoder, c.mlp_head(last_norm="affine"), c.tx, **c.options), c.two_views()


def train_simsiam(c):
    """Three layers that end in plain batch norm, and a bottleneck, whose learning rate stays."""
    projector = c.mlp_head(layers=3, hidden_bias=False, last_norm="plain")
    predictor = c.predictor(c.config.head.out // 4, hidden_bias=False, out_bias=True) if c.config.head.predictor else None
    still = {"predictor": c.constant_tx} if predictor else {}
    return methods.simsiam(c.encoder, projector, predictor, by_part(c.tx, **still), **c.options), c.two_views()


def train_swav(c):
    """Two layers, in front of the prototypes."""
    rows = c.source.size
    check_option(
        "--config.method.prototypes", c.options["prototypes"], lambda k: k <= rows, f"at most {rows}, the number of images"
    )
    return methods.swav(c.encoder, c.mlp_head(out_bias=True), c.tx, **c.options), c.multi_crop()


def train_twist(c):
    """Three layers that end in plain batch norm: as many classes as the section `head` has outputs."""
    projector = c.mlp_head(layers=3, out_bias=True, last_norm="plain")
    return methods.twist(c.encoder, projector, c.tx, **c.options), c.multi_crop()


def twist_label_stages(c, *, first=first_stage(methods.twist, epochs=190, learning_rate=1e-3)):
    """`twist`; then, from its nets on, the surer of the large views labels the others, for the epochs of the encoder's section."""
    before = c.first(methods.twist, first, train_twist)

    def make(c):
        projector = c.mlp_head(layers=3, out_bias=True, last_norm="plain")
        return methods.twist_labels(c.encoder, projector, c.tx, **c.options), c.multi_crop()

    return before.stage() | c.stage(make, warm_start=as_online, warm_start_from=before.name)


def vibcreg_stages(c, *, iterative=False, activation="relu"):
    """Three layers; the last ends in iterative normalisation where the option says so."""
    options = {"layers": 3, "last_norm": "iterative" if iterative else "none", "activation": activation}

    def make(c):
        return methods.vibcreg(c.encoder, c.mlp_head(**options), c.tx, **c.options), c.two_views()

    return c.stage(make)


def train_vicreg(c):
    """Three layers."""
    return methods.vicreg(c.encoder, c.mlp_head(layers=3), c.tx, **c.options), c.two_views()


def train_w_mse(c):
    """Two layers, narrower than a part of the batch has rows."""
    return methods.w_mse(c.encoder, c.mlp_head(out_bias=True), c.tx, **c.options), c.two_views()


METHODS = {
    "barlow_twins": Entry(methods.barlow_twins, train_barlow_twins),
    "byol": Entry(methods.byol, train_byol),
    "deepcluster_v2": Entry(methods.deepcluster_v2, stages=deepcluster_stages),
    "dino": Entry(methods.dino, train_dino),
    "fast_moco": Entry(methods.fast_moco, train_fast_moco),
    "lc_loss": Entry(methods.lc_loss, train_lc_loss),
    "mae": Entry(methods.mae, stages=mae_stages),
    "moco": Entry(methods.moco, train_moco),
    "moco_v2_plus": Entry(methods.moco_v2_plus, train_moco_v2_plus),
    "moco_v3": Entry(methods.moco_v3, train_moco_v3),
    "msbreg": Entry(methods.msbreg, train_msbreg),
    "nnclr": Entry(methods.nnclr, train_nnclr),
    "relicv2": Entry(methods.relicv2, train_relicv2),
    "ressl": Entry(methods.ressl, train_ressl),
    "simclr": Entry(methods.simclr, train_simclr),
    "simsiam": Entry(methods.simsiam, train_simsiam),
    "swav": Entry(methods.swav, train_swav),
    "twist": Entry(methods.twist, train_twist),
    "twist_labels": Entry(methods.twist_labels, stages=twist_label_stages),
    "vibcreg": Entry(methods.vibcreg, stages=vibcreg_stages),
    "vicreg": Entry(methods.vicreg, train_vicreg),
    "w_mse": Entry(methods.w_mse, train_w_mse),
}

# For a few thousand images, an embedding of 64 numbers and batches of 128.
FEW_IMAGES: dict[str, dict[str, Any]] = {
    "barlow_twins": {"weight": 1 / 64},
    "byol": {"tau": 0.99},
    "deepcluster_v2": {"prototypes": 60},
    "dino": {"outputs": 256, "teacher_temperature": 0.04, "warmup_epochs": 0, "momentum": 0.99},
    "lc_loss": {"tau": 0.99},
    "moco": {"queue": 1024, "momentum": 0.99},
    "moco_v2_plus": {"queue": 1024},
    "moco_v3": {"temperature": 0.2},
    "msbreg": {"tau": 0.99},
    "nnclr": {"queue": 1024, "temperature": 0.2},
    "relicv2": {"large": 2, "momentum": 0.99},
    "ressl": {"queue": 1024},
    "simclr": {"temperature": 0.2},
    "swav": {"prototypes": 60, "frozen_epochs": 1},
    "w_mse": {"size": 128},
}

# Images, net, views and training of the methods above, in the form of those that are published.
SMALL: dict[str, Any] = {
    "seeds": 3, "evaluate_epochs": 5, "save_epochs": 10, "precision": "float32", "data": {"source": "digits"}, "batch": 128,
    "encoder": "conv_net", "net": {"widths": (32, 64, 128)}, "epochs": 200, "head": {"hidden": 256, "out": 64},
    "optimiser": sections.adam_section(1e-3, warmup_epochs=5.0, weight_decay=1e-4), "kind": "affine", "views": {}, "small": {},
}  # fmt: skip
# The last stage of twist_labels.
LABELS = {"epochs": 10, "optimiser": sections.adam_section(1e-4, warmup_epochs=1.0, weight_decay=1e-4)}
PUBLISHED = {"cifar10": cifar10, "imagenet": imagenet}


def setting_of(method: str, name: str) -> dict[str, Any]:
    """What a method is trained on and how: as published where a setting has a name."""
    if not name:
        return {**SMALL, **(LABELS if method == "twist_labels" else {})}
    known = pick("setting", name, PUBLISHED)
    if method not in known.SETTINGS:
        pick("method", method, METHODS)
        raise InputError(f"setting={name} has no published values of {method}; it has those of {', '.join(known.SETTINGS)}")
    own, usual = known.SETTINGS[method], {"seeds": 1, "evaluate_epochs": 10, "kind": "crop", "method": {}}
    net = {**known.COMMON.get("net", {}), **own.get("net", {})}
    return {**SMALL, **usual, **known.COMMON, **own, "net": net}


def get_config(variant: str = "", *, names: tuple[str, ...] = (), table: Table = METHODS) -> ConfigDict:
    """One method, `method=`, or where there are `names` a table of them, `methods=`."""
    kind = {"methods": "/".join(names)} if names else {"method": "byol", "setting": ""}
    chosen = sections.variant(variant, **kind, encoder="", views="")
    wanted, name = tuple(chosen[next(iter(kind))].split("/")), chosen.get("setting", "")
    told = setting_of(wanted[0], name) if not names else SMALL
    found = methods_section(wanted, table, options={wanted[0]: told["method"]} if name else FEW_IMAGES)
    check_option("views", chosen["views"], lambda views: not name or views in ("", "crop"), f"crop, the views of setting={name}")
    views = sections.views_section(chosen["views"] or told["kind"], **told["views"])
    views["small"].update(told["small"])
    training = sections.training_section(
        chosen["encoder"] or told["encoder"], epochs=told["epochs"], optimiser=told["optimiser"], **told["net"]
    )
    return ConfigDict(
        {
            **sections.run_section(
                seeds=told["seeds"], evaluate_epochs=told["evaluate_epochs"], save_epochs=told["save_epochs"]
            ),
            "precision": told["precision"],
            "data": sections.data_section(**told["data"], batch=told["batch"], val_fraction=0.0),
            "views": views,
            "encoder_training": {**training, **({"optimiser": told["optimiser"]} if name else {})},  # also that of a transformer
            # Without its predictor, which byol and simsiam can do without, a method collapses; a width of 0 is the method's own.
            "head": {"predictor": True, "predictor_hidden": 0, **told["head"]},
            **({"methods": found} if names else {"method": next(iter(found.values()))}),
            "probe": {
                "per_class": 10, "draws": 5,  # labels a class of the offline probe, and how often they are drawn
                "fractions": (),  # parts of the labels for further probes: (0.01, 0.1) is 1% and 10%
                "solver": "lbfgs",  # of these probes: lbfgs, sgd
                "neighbours": 20,  # of kNN
                "episodes": 0, "ways": 5, "shots": 5, "queries": 15,  # few-shot tasks, of which papers have 600; 0: none
            },
        }
    )  # fmt: skip


build = partial(representation.build, table=METHODS)
