"""RecBole's own loaders."""

from recbole.data.utils import create_samplers, get_dataloader


def hosts(config, split):
    sampler = create_samplers(config, split.dataset, [split.train, split.valid, split.test])[0]
    return get_dataloader(config, "train")(config, split.train, sampler, shuffle=config["shuffle"])
