"""Settings that name columns of numbers, checked against the types of the loaded columns.

RecBole warns of a column of another type and goes on, compares ids with a threshold, or ends with a traceback.
"""

from typing import Any

from recbole.utils import FeatureType

from recbole_bd.errors import ConfigError

_NUMBERS = (FeatureType.FLOAT, FeatureType.FLOAT_SEQ)


def check_threshold(dataset: Any) -> None:
    """Check the column from which `threshold` makes labels.

    Args:
        dataset: RecBole's Dataset with its columns loaded.

    Raises:
        ConfigError: the column is not loaded with the interactions, or does not hold one number each.
    """
    for column in dataset.config["threshold"] or ():
        if column not in dataset.inter_feat:
            raise ConfigError(f"threshold: no column {column} is loaded; name it in load_col: inter")
        _check_type(dataset, "threshold", column, (FeatureType.FLOAT,))


def check_number_columns(dataset: Any) -> None:
    """Check the columns that are normalised or put into buckets.

    Args:
        dataset: RecBole's Dataset with its columns loaded, and labels made if `threshold` makes them.

    Raises:
        ConfigError: a column is not loaded, does not hold numbers, is the label, or lacks in
            `numerical_features`.
    """
    config = dataset.config
    for key in ("normalize_field", "discretization", "numerical_features"):
        for column in config[key] or ():
            if column not in dataset.field2type:
                replaced = column in (config["threshold"] or ())
                problem = f"threshold replaces {column} by labels; leave it out" if replaced else ""
                raise ConfigError(f"{key}: {problem or f'no column {column} is loaded; name it in load_col'}")
            _check_type(dataset, key, column, _NUMBERS)
            if key != "normalize_field" and column == dataset.label_field:
                raise ConfigError(f"{key}: {column} is the label of an interaction (LABEL_FIELD); leave it out")
    for column in config["discretization"] or ():
        if column not in config["numerical_features"]:
            raise ConfigError(f"discretization: {column} must be in numerical_features as well")


def _check_type(dataset: Any, key: str, column: str, types: tuple[FeatureType, ...]) -> None:
    if (kind := dataset.field2type[column]) not in types:
        raise ConfigError(
            f"{key}: {column} is a column of type {kind.value}, and only numbers serve; leave it out, or write "
            f"{column}:float in the header of its file"
        )
