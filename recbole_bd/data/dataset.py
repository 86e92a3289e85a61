"""RecBole's Dataset with checked atomic files and an atomic download."""

import logging
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from recbole.data.dataset import Dataset
from recbole.utils import FeatureType

from recbole_bd.compat import reading_through
from recbole_bd.data.atomic_file import AtomicFile
from recbole_bd.data.intervals import check_interval
from recbole_bd.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


class AtomicDataset(Dataset):
    """RecBole's Dataset from checked files; a download is logged, and it is complete or absent.

    Raises:
        DataError: a file is missing or malformed, see `AtomicFile`, or a download failed.
        ConfigError: an encoding is unknown, or a separator cannot be one.
    """

    def _load_feat(self, filepath: str, source: Any) -> Any:
        wanted, _ = self._get_load_and_unload_col(source)
        if wanted == set():
            return super()._load_feat(filepath, source)  # no column is loaded
        separators = (self.config[key] for key in ("field_separator", "seq_separator"))
        file = AtomicFile(filepath, self.config["encoding"] or "utf-8", *separators)
        keys = {"inter": (self.uid_field, self.iid_field), "user": (self.uid_field,), "item": (self.iid_field,)}
        file.require(sorted(wanted or ()), keys.get(getattr(source, "value", source), ()))
        with reading_through(file.header, file.frame):
            return super()._load_feat(filepath, source)

    def _filter_by_field_value(self) -> None:
        """Filter by val_interval.

        Raises:
            ConfigError: a column of ids has intervals, or a column of numbers has none.
        """
        for column, wanted in (self.config["val_interval"] or {}).items():
            kind = self.field2type.get(column)
            if kind in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ):
                check_interval(f"val_interval: {column}", wanted)
            elif kind is not None and not isinstance(wanted, list):
                raise ConfigError(f"val_interval: {column}={wanted!r}: expected a list of the ids to keep")
        super()._filter_by_field_value()

    def _download(self) -> None:
        """Download into a temporary folder and rename it when complete, so that a partial download is never used.

        Raises:
            DataError: RecBole does not know the data set, or the download failed.
        """
        name, folder = self.dataset_name, Path(self.config["data_path"])
        way_out = f"Put {name}.inter there, or set --data_path"
        try:
            url = self._get_download_url("url")
        except ValueError as error:
            raise DataError(
                f"data set {name}: {folder} does not exist and RecBole has no download of that name. {way_out}"
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
