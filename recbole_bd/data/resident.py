"""Batches moved to a GPU many at a time, so that no step waits for a copy."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from recbole.data.interaction import Interaction

# Rows moved at a time. The host makes the next ones while the GPU still trains on these.
_ROWS_AT_ONCE = 2**14

Source = TypeVar("Source")


def resident(
    batches: Iterable[tuple[Source, Interaction]], device: torch.device, rows: int = _ROWS_AT_ONCE
) -> Iterator[tuple[Source, Interaction]]:
    """Move batches to a device, unchanged and in their order.

    Args:
        batches: batches on the host, each with the name of its source. Batches of one source have equal columns. They
            are drawn some time before they are given out.
        device: the device of the model.
        rows: number of rows after which the batches so far are moved together.

    Returns:
        The same batches, views of common tensors on the device.
    """
    held: list[tuple[Source, Interaction]] = []
    count = 0
    for source, batch in batches:
        held.append((source, batch))
        count += len(batch)
        if count >= rows:
            yield from _moved(held, device)
            held, count = [], 0
    yield from _moved(held, device)


def _moved(held: list[tuple[Source, Interaction]], device: torch.device) -> Iterator[tuple[Source, Interaction]]:
    """Move the batches of each source and of each shape, without its rows, together."""
    alike: dict[tuple, list[int]] = {}
    for number, (source, batch) in enumerate(held):
        shapes = tuple((name, values.shape[1:]) for name, values in batch.interaction.items())
        alike.setdefault((source, shapes), []).append(number)
    columns: list[dict[str, torch.Tensor]] = [{} for _ in held]
    for numbers in alike.values():
        some = [held[number][1] for number in numbers]
        for name in some[0].interaction:
            whole = torch.cat([batch.interaction[name] for batch in some])
            whole = (whole.pin_memory() if device.type == "cuda" else whole).to(device, non_blocking=True)
            for number, part in zip(numbers, whole.split(list(map(len, some))), strict=True):
                columns[number][name] = part
    for (source, _), own in zip(held, columns, strict=True):
        yield source, Interaction(own)
