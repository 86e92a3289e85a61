"""RecBole's Dataset with checked atomic files and an atomic download."""

import logging
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import recbole
import torch
import yaml
from recbole.data.dataset import Dataset
from recbole.utils import FeatureType

from recbole_bd.compat import reading_through
from recbole_bd.data.atomic_file import AtomicFile
from recbole_bd.data.intervals import check_interval, nothing_kept, parse_intervals
from recbole_bd.data.number_columns import check_number_columns, check_threshold
from recbole_bd.data.times import reads_times
from recbole_bd.errors import ConfigError, DataError, did_you_mean

logger = logging.getLogger(__name__)

# RecBole's own list of the data sets that it downloads, by name.
_DOWNLOADS = Path(recbole.__file__).parent / "properties" / "dataset" / "url.yaml"
_EXACT_TIME = "\x1fexact time"  # column of times while TS divides them; no file has this name


class AtomicDataset(Dataset):
    """RecBole's Dataset from checked files; a download is logged, and it is complete or absent.

    Times order and divide the interactions as exactly as the files have them: float64, or integers of 64 bits. RecBole
    rounds them to float32 first, which is 128 seconds for today's Unix times. Rows of equal time keep the file's order.

    Raises:
        DataError: a file is missing or malformed, see `AtomicFile`, or a download failed.
        ConfigError: an encoding is unknown, a separator cannot be one, or the column of times has no order.
    """

    # Set by RecBole: the interactions, and the name of their column of times.
    inter_feat: Any
    time_field: Any
    # Whether the file has labels of interactions that load_col leaves out.
    has_unread_labels = False
    # Items of all users in order of time, for the parts of the split; None without a sequential model in the run.
    sequences: Any = None

    def _get_preset(self) -> None:
        super()._get_preset()
        self._exact_times: np.ndarray | None = None  # float64 or integers, in the order of `inter_feat`

    def _load_feat(self, filepath: str, source: Any) -> Any:
        wanted, _ = self._get_load_and_unload_col(source)
        if wanted == set():
            return super()._load_feat(filepath, source)  # no column is loaded
        separators = (self.config[key] for key in ("field_separator", "seq_separator"))
        file = AtomicFile(filepath, self.config["encoding"] or "utf-8", *separators)
        table = getattr(source, "value", source)
        if wanted is not None and table == "inter":
            names = {column.name for column in file.columns}
            self.has_unread_labels |= self.config["LABEL_FIELD"] in names - set(wanted)
        keys = {"inter": (self.uid_field, self.iid_field), "user": (self.uid_field,), "item": (self.iid_field,)}
        time = self.time_field if table == "inter" else None
        file.require(sorted(wanted or ()), keys.get(table, ()), time, self._orders_by_time())
        with reading_through(file.header, file.frame):
            return super()._load_feat(filepath, source)

    def _filter_by_field_value(self) -> None:
        """Filter by val_interval.

        Raises:
            ConfigError: a column of words has intervals, a column of numbers has none, or nothing passes a filter.
        """
        for column, wanted in (self.config["val_interval"] or {}).items():
            kind = self.field2type.get(column)
            if kind in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ):
                check_interval(f"val_interval: {column}", wanted)
            elif kind is not None and not isinstance(wanted, list):
                raise ConfigError(
                    f"val_interval: {column}={wanted!r}: {column} is a column of {kind.value}, which has no order: "
                    "expected a list of the values to keep, such as [a, b]"
                )
            for feat in self.field2feats(column) if kind in (FeatureType.FLOAT, FeatureType.TOKEN) else ():
                values = feat[column]
                is_list = isinstance(wanted, list)
                kept = values.isin(wanted) if is_list else self._within_intervals(values, parse_intervals(wanted))
                if len(values) and not kept.any():
                    raise ConfigError(nothing_kept(column, wanted, values))
        super()._filter_by_field_value()

    def _parse_intervals_str(self, intervals_str: Any) -> list[tuple[str, float, float, str]] | None:
        return None if intervals_str is None else parse_intervals(intervals_str)

    def _orders_by_time(self) -> bool:
        """Whether the settings put the interactions in the order of their times, or divide them by it."""
        is_divided = not self.config["benchmark_filename"] and reads_times(self.config["eval_args"])
        return bool(is_divided or self.config["rm_dup_inter"] is not None)

    def _has_times(self) -> bool:
        """Whether the times are loaded.

        Raises:
            ConfigError: their column does not hold numbers.
        """
        if self.time_field not in self.inter_feat:
            return False
        if (kind := self.field2type[self.time_field]) != FeatureType.FLOAT:
            raise ConfigError(
                f"TIME_FIELD={self.time_field}: the column is of type {kind.value}, which has no order; write "
                f"the times as numbers, and {self.time_field}:float in the header"
            )
        return True

    def _remove_duplication(self) -> None:
        """Remove repeated pairs. RecBole's sort by time is not stable, so it gets places, which have no ties."""
        if self.config["rm_dup_inter"] is None or not self._has_times():
            super()._remove_duplication()
            return
        times = self.inter_feat[self.time_field]
        order = np.argsort(times.to_numpy(), kind="stable")
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        self.inter_feat[self.time_field] = places
        super()._remove_duplication()
        self.inter_feat[self.time_field] = times  # pandas takes the rows that are left, by their labels

    def _set_label_by_threshold(self) -> None:
        check_threshold(self)
        super()._set_label_by_threshold()
        check_number_columns(self)

    def _normalize(self) -> None:
        """Sort by exact time, then normalise; from here on RecBole rounds numbers.

        Rounding keeps an order, and RecBole's later sort by time is stable, so it changes nothing.
        """
        arguments = self.config["eval_args"]
        if self.benchmark_filename_list is None and arguments["order"] == "TO" and self._has_times():
            self.inter_feat = self.inter_feat.sort_values(self.time_field, kind="stable", ignore_index=True)
            if "TS" in arguments["split"]:
                self._exact_times = self.inter_feat[self.time_field].to_numpy()
        for feat in (getattr(self, name) for name in self.feat_name_list):
            for column in feat.columns[[kind.kind in "iu" for kind in feat.dtypes]]:
                if self.field2type[column] == FeatureType.FLOAT and column != self.label_field:
                    feat[column] = feat[column].astype(np.float64)
        super()._normalize()

    def time_based_split(self, ratios: list[float], group_by: str) -> list[Dataset]:
        """Split by time (TS), with the limit between training and test among the exact times."""
        times = self._exact_times
        if times is None:
            return super().time_based_split(ratios, group_by)
        if times.dtype != np.float64:  # ranks stand for integers that float64 cannot tell apart
            times = np.unique(times, return_inverse=True)[1].astype(np.float64)
        time_field, self.time_field = self.time_field, _EXACT_TIME
        self.inter_feat[_EXACT_TIME] = torch.from_numpy(times)
        parts = super().time_based_split(ratios, group_by)
        for dataset in (self, *parts):
            dataset.time_field = time_field
            del dataset.inter_feat[_EXACT_TIME]
        return parts

    def _download(self) -> None:
        """Download into a temporary folder and rename it when complete, so that a partial download is never used.

        Raises:
            DataError: RecBole does not know the data set, or the download failed.
        """
        name, folder = self.dataset_name, Path(self.config["data_path"])
        files = ", ".join(interaction_files(name, self.config["benchmark_filename"]))
        way_out = f"Put {files} there, or set --data_path to the folder above {name}/"
        try:
            url = self._get_download_url("url")
        except ValueError as error:
            raise DataError(
                f"data set {name}: {folder} does not exist and RecBole has no download of that name."
                f"{did_you_mean(name, _known_names(folder.parent), cutoff=0.7)} {way_out}"
            ) from error
        # A warning, so that it is shown without any logging set up: this is the package's only use of the network.
        logger.warning("data set %s: %s does not exist; downloading from %s", name, folder, url)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(
                prefix=f".{name}.download-", dir=folder.parent, ignore_cleanup_errors=True
            ) as beside:
                self.dataset_path = beside
                self._fetch()
                if not any(Path(beside).glob(f"{name}*.inter")):
                    raise OSError(f"it contains no {name}.inter")
                Path(beside).chmod(0o755)  # so far only the owner may read it
                try:
                    Path(beside).rename(folder)
                except OSError:
                    if not folder.is_dir():  # otherwise another process was faster
                        raise
        except (OSError, EOFError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile) as error:
            problem = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"data set {name}: {folder} does not exist and the download from {url} failed ({problem}). {way_out}"
            ) from error
        finally:
            self.dataset_path = str(folder)
        logger.info("data set %s: downloaded to %s", name, folder)

    def _fetch(self) -> None:
        try:
            super()._download()
        except SystemExit as error:
            raise OSError("it was declined") from error
        except (ValueError, RuntimeError) as error:
            # RecBole synchronizes processes after the download, which fails if there is no process group.
            if "process group" not in str(error):
                raise


class RoundedTimesDataset(AtomicDataset):
    """The data as versions without exact times divided them, for models trained on such a split."""

    _remove_duplication = Dataset._remove_duplication
    _normalize = Dataset._normalize
    time_based_split = Dataset.time_based_split


def interaction_files(name: str, parts: Sequence[str] | None) -> list[str]:
    """Names of a data set's files of interactions.

    Args:
        name: the data set.
        parts: parts of a given split (`benchmark_filename`); None or empty: one file.
    """
    return [f"{name}.{part}.inter" for part in parts] if parts else [f"{name}.inter"]


def _known_names(folder: Path) -> list[str]:
    """Names of data sets: the folders with interactions in a folder, and those that RecBole downloads."""
    here = {path.parent.name for path in folder.glob("*/*.inter")}
    return sorted({*here, *yaml.safe_load(_DOWNLOADS.read_text(encoding="utf-8"))})
