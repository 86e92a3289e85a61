"""Labels of interactions: where they are needed, and where they would be taken for positives."""

from typing import Any

import pandas as pd
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.utils import FeatureType

from recbole_bd.errors import ConfigError


def check_labels(dataset: Dataset, config: Config) -> None:
    """Check that labels are there if they are measured, and that no negative counts as a positive if they are not.

    Args:
        dataset: the loaded and filtered data, before the split.
        config: settings of the run.

    Raises:
        ConfigError: `mode: labeled` without labels, or labels of 0 where items are ranked.
    """
    modes, column = config["eval_args"]["mode"].values(), dataset.label_field
    if column not in dataset.inter_feat:
        if "labeled" in modes:
            raise missing_labels("eval_args: mode: labeled measures", config)
        return
    if set(modes) == {"labeled"}:
        return
    negatives = int((_numbers(dataset, column) <= 0).sum())
    if negatives:
        mode = next(mode for mode in modes if mode != "labeled")
        keep = "['1']" if dataset.field2type[column] == FeatureType.TOKEN else "'[1,inf)'"
        raise ConfigError(
            f"{column}: {negatives:,} of {len(dataset.inter_feat):,} interactions have label 0, but labels are "
            f"not read in eval_args: mode: {mode}, so that they would count as positives. Keep only the positives by "
            f"val_interval: {{{column}: {keep}}}, or measure labels (AUC) with eval_args: mode: labeled"
        )


def missing_labels(what: str, config: Config) -> ConfigError:
    """The error for data without labels.

    Args:
        what: what needs them, at the beginning of the message.
        config: settings of the run.
    """
    return ConfigError(
        f"{what} labels, and the interactions have no column {config['LABEL_FIELD']}; name theirs in LABEL_FIELD and "
        "load_col, or make labels with threshold, such as {rating: 4}"
    )


def _numbers(dataset: Dataset, column: str) -> Any:
    """Labels as numbers, one per interaction; text that is no number is NaN."""
    values = dataset.inter_feat[column]
    if dataset.field2type[column] == FeatureType.TOKEN:
        values = pd.Series(dataset.id2token(column, values.to_numpy()))
    return pd.to_numeric(values, errors="coerce")
