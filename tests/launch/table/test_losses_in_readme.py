"""The table of losses in their README is that of the code."""

import inspect

from kdjax import losses
from launch.table.losses import README, readme, rows


def test_the_table_is_up_to_date():
    assert README.read_text() == readme(), "python -m launch.table.losses writes it"


def test_every_loss_is_in_one_row():
    named = [name for row in rows() for name in losses.__all__ if f"`{name}`" in row.split("|")[1]]
    assert sorted(named) == sorted(losses.__all__)
    for row in rows():
        loss = getattr(losses, row.split("`")[1])
        _, _, arrays, where, gives, axis, *_ = (cell.strip() for cell in row.split("|"))
        takes = inspect.signature(loss).parameters
        assert bool(where) == ("where" in takes) and bool(axis) == ("axis_name" in takes) and gives
        assert all(name in takes for name in arrays.replace("`", " ").split() if name.isidentifier() and len(name) > 3)
