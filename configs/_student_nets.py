"""What is trained where it is more than the student's own net: specifications for `configs/_methods.py`."""

import jax

from configs._setting import Setting
from kdjax import models


def shrunk(setting: Setting, *, factor: int = 2) -> dict:
    """The student on images whose sides are divided by `factor`."""
    net = setting.student
    return {"name": "shrunk", "net": net, "factor": factor, "classes": net["classes"], "dtype": net["dtype"]}


def projected(setting: Setting, *, factor: int = 2) -> dict:
    """The student with a projector to the teacher's last map, whose linear layer it is given."""
    whole = {k: v for k, v in setting.student.items() if k in ("classes", "dtype", "mean", "std")}
    own = {k: v for k, v in setting.student.items() if k not in whole} | {"classes": 0}
    _, height, width, channels = jax.eval_shape(models.last_map, setting.taps(setting.teacher)).shape
    tap = models.last_stage(setting.taps(setting.build(own)))
    return {"name": "projected", "net": own, "tap": tap, "channels": channels, "size": [height, width], "factor": factor, **whole}


def with_token(setting: Setting) -> dict:
    """A vision transformer with the distillation token; its plain form is the student alone."""
    name = setting.student["name"]
    if setting.options["token"] == "class":
        return setting.student
    return setting.student | ({"distillation": True} if name == "vit" else {"name": name.replace("vit_", "deit_")})


def with_heads(setting: Setting) -> dict:
    """A vision transformer with as many heads in its last block as the block has that teaches it."""
    taps = setting.taps(setting.teacher)
    name = f"block{setting.options['first']['block'] or len(models.block_names(taps))}_query"
    if name not in taps or not setting.student["name"].startswith(("vit", "deit")):
        return setting.student
    return setting.student | {"last_heads": taps[name].shape[1]}
