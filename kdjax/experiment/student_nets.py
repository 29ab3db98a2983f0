"""What is trained where it is more than the student's own net, and what branches stand behind: specifications."""

import jax

from kdjax import models
from kdjax.experiment.student import StudentContext


def shrunk(c: StudentContext, factor: int) -> dict:
    """The student on images whose sides are divided by `factor`."""
    net = c.specification
    return {"name": "shrunk", "net": net, "factor": factor, "classes": net["classes"], "dtype": net["dtype"]}


def projected(c: StudentContext, factor: int) -> dict:
    """The student with a projector to the teacher's last map, whose linear layer it is given."""
    whole = {k: v for k, v in c.specification.items() if k in ("classes", "dtype", "mean", "std")}
    own = {k: v for k, v in c.specification.items() if k not in whole} | {"classes": 0}
    _, height, width, channels = jax.eval_shape(models.last_map, c.taps(c.teacher)).shape
    tap = models.last_stage(c.taps(c.build(own)))
    return {"name": "projected", "net": own, "tap": tap, "channels": channels, "size": [height, width], "factor": factor, **whole}


def with_token(c: StudentContext) -> dict:
    """A vision transformer with the distillation token; its plain form is the student alone."""
    name = c.specification["name"]
    if c.settings["token"] == "class":
        return c.specification
    return c.specification | ({"distillation": True} if name == "vit" else {"name": name.replace("vit_", "deit_")})


def with_heads(c: StudentContext, block: int) -> dict:
    """A vision transformer with as many heads in its last block as the block has that teaches it."""
    taps = c.taps(c.teacher_of_any_classes)
    name = f"block{block or len(models.block_names(taps))}_query"
    if name not in taps or not c.specification["name"].startswith(("vit", "deit")):
        return c.specification
    return c.specification | {"last_heads": taps[name].shape[1]}


def branched(net: dict) -> dict:
    """A net with branches behind its stages."""
    return {"name": "branched", "net": net, **{k: net[k] for k in ("classes", "dtype") if k in net}}
