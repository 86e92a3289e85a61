"""Splits with their loaders, and RecBole's own loaders."""

from recbole.data.utils import create_samplers, get_dataloader

from recbole_bd.config.config import BDConfig
from recbole_bd.data.batches import BatchStream, batch_stream
from recbole_bd.data.split import Split, load_split
from tests.helpers.settings import make_config


def hosts(config, split):
    """RecBole's own training loader."""
    sampler = create_samplers(config, split.dataset, [split.train, split.valid, split.test])[0]
    return get_dataloader(config, "train")(config, split.train, sampler, shuffle=config["shuffle"])


def split_of(settings: dict, **more) -> tuple[BDConfig, Split]:
    """A configuration and its data."""
    config = make_config(settings, **more)
    return config, load_split(config)


def streams(config: BDConfig, split: Split) -> BatchStream:
    """The batches of both roles."""
    return batch_stream({role: config.role(role) for role in config.backbones}, split, lambda role: None)
