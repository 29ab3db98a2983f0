"""Every config builds and traces."""

import json

import pytest
from launching import CONFIGS, built, write_npz

import kdjax
from kdjax.train.devices import find_devices, one_device
from launch.run.rehearsal import rehearse


def words_for(file, folder):
    """Overrides that let a config build without its data set, or trace fewer stages that are alike."""
    if "generations" in file:
        return ("--config.rounds=1",)
    if "cyclical" in file:
        return ("--config.parts=clip,hard",)
    if "remote_sensing" in file:
        return ("--config.transforms.names=crop,drop",)
    if file.startswith("self_benchmark"):
        return "--config.data.source=digits", "--config.data.image_size=0", "--config.data.train_images=0", "--config.sweep="
    if "setting=" not in file and file.startswith(
        ("cosub", "data_free", "digits", "swa", "mutual", "offline", "quickstart", "self_distil", "ssl", "studies", "text")
    ):
        return ()
    options = {"size": 8, "channels": 1} if "mnist" in file else {"size": 32, "channels": 3}
    npz = write_npz(folder / "tiny.npz", n=300, classes=100 if "cifar100" in file else 10, **options)
    return f"--config.data.source=npz:{npz}", "--config.data.batch=16", "--config.data.train_images=0"


VARIANTS = [
    "quickstart.py:student=resnet8,teacher=wrn_16_1,method=kd",
    "quickstart.py:student=wrn,teacher=resnet18",
    "cifar100_self.py:method=dks",
    "cifar10.py:teacher=resnet20,student=conv_net",
    "imagenet_kd.py:student=mobilenet_v2,teacher=resnet18",  # the teacher of the config is traced with it
    "digits_byol.py:encoder=resnet8",
    "data_free_benchmark.py:methods=dfad/fast_dfkd",
    "data_free.py:method=cudfkd,setting=cifar10,teacher=resnet8,student=resnet8",
    "data_free.py:method=cgdd",
    "data_free.py:method=cmi",
    "data_free.py:method=deep_inversion,objective=at+dkd",
    "data_free.py:method=fast_dfkd",
    "data_free.py:method=mad",
    "data_free.py:method=zskt,objective=reviewkd",
    "digits_datafree.py:student=resnet8",
    "mutual.py:methods=hssakd/independent/kdcl",
    "online_benchmark.py:methods=mfef/okddip",
    "self_distil.py:methods=bake/byot+sd_dropout/cs_kd/ddgsd/ps_kd",
    "self_benchmark.py:methods=kd/mixskd",
    "studies/augmentation_invariance.py:methods=byol/s_moco_v2_plus",
    "studies/remote_sensing.py:methods=moco",
    "studies/rich_representations.py",
    "studies/selective_labels.py",
    "studies/task_distance.py",
    "studies/transfer.py:methods=byol/supervised",
    "studies/watermark.py",
    "ssl.py:method=twist_labels",
    "text.py:method=dkd",
    "ssl_benchmark.py:methods=byol/supervised",  # all others are traced on their views by the tests of kdjax.experiment
]


TABLES = (
    "data_free_benchmark.py",
    "online_benchmark.py",
    "self_benchmark.py",
    "ssl_benchmark.py",
)  # of all methods, most of which others have too


@pytest.mark.parametrize("name", [*(name for name in CONFIGS if name not in TABLES), *VARIANTS])
def test_every_config_builds_and_traces(name, tmp_path):
    stages = built(name, *words_for(name, tmp_path)).stages
    rehearse(stages, one_device())
    for name, stage in stages.items():
        assert stage.steps > 0 and (stage.nets or name.endswith("_first"))
        for specification in stage.nets.values():
            json.dumps(specification)
            kdjax.models.build(specification)


def test_a_batch_that_devices_cannot_share_is_refused():
    with pytest.raises(kdjax.core.InputError, match="stage 'teacher' has batches of 64 images: expected a multiple of 3"):
        rehearse(built("quickstart.py").stages, find_devices(count=3))
