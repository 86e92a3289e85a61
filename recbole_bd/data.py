"""One split for both roles, RecBole's own loader per role, and the batches of the distillation stage."""

import hashlib
import logging
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.data.dataloader import TrainDataLoader
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.data.utils import create_samplers, get_dataloader
from recbole.utils import FeatureType, init_seed

from recbole_bd.atomic_files import AtomicFile
from recbole_bd.atomic_text import shown
from recbole_bd.compat import reading_through
from recbole_bd.distributed import Group
from recbole_bd.errors import ConfigError, DataError
from recbole_bd.loading import make_evaluation_loader, make_train_loader
from recbole_bd.protocol import check_interval

logger = logging.getLogger(__name__)


class AtomicDataset(Dataset):
    """RecBole's Dataset from checked files, whose download is whole or not there and says where it goes.

    Raises:
        DataError: a missing or malformed file, see `AtomicFile`, or a download that failed.
        ConfigError: an unknown encoding, or a separator that cannot be one.
    """

    def _load_feat(self, filepath: str, source: Any) -> Any:
        wanted, _ = self._get_load_and_unload_col(source)
        if wanted == set():
            return super()._load_feat(filepath, source)  # nothing of it is loaded
        separators = (self.config[key] for key in ("field_separator", "seq_separator"))
        file = AtomicFile(filepath, self.config["encoding"] or "utf-8", *separators)
        keys = {"inter": (self.uid_field, self.iid_field), "user": (self.uid_field,), "item": (self.iid_field,)}
        file.require(sorted(wanted or ()), keys.get(getattr(source, "value", source), ()))
        with reading_through(file.header, file.frame):
            return super()._load_feat(filepath, source)

    def _filter_by_field_value(self) -> None:
        """Filter by val_interval.

        Raises:
            ConfigError: intervals for a column of ids, or none for a column of numbers.
        """
        for column, wanted in (self.config["val_interval"] or {}).items():
            kind = self.field2type.get(column)
            if kind in (FeatureType.FLOAT, FeatureType.FLOAT_SEQ):
                check_interval(f"val_interval: {column}", wanted)
            elif kind is not None and not isinstance(wanted, list):
                raise ConfigError(f"val_interval: {column}={wanted!r}: holds ids; expected a list of those to keep")
        super()._filter_by_field_value()

    def _download(self) -> None:
        """Download into a folder beside and rename it when all is there: a torn download is none.

        Raises:
            DataError: RecBole knows no such data set, or it could not be fetched.
        """
        name, folder = self.dataset_name, Path(self.config["data_path"])
        way_out = f"Put {name}.inter there, or set --data_path"
        try:
            url = self._get_download_url("url")
        except ValueError as error:
            raise DataError(
                f"data set {name}: {folder} does not exist and RecBole knows no download of that name. {way_out}"
            ) from error
        # Seen also where nobody has set up logging: this package uses the network for nothing else.
        logger.warning("data set %s: %s does not exist; downloads from %s", name, folder, url)
        beside: Path | None = None
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=f".{name}.download-", dir=folder.parent))
            self.dataset_path = str(beside)
            self._fetch()
            if not any(beside.glob(f"{name}*.inter")):
                raise OSError(f"it holds no {name}.inter")
            beside.chmod(0o755)  # mkdtemp's is for its owner only
            try:
                beside.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process has been faster
                    raise
        except (OSError, EOFError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile) as error:
            problem = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"data set {name}: {folder} does not exist and the download from {url} failed ({problem}). {way_out}"
            ) from error
        finally:
            self.dataset_path = str(folder)
            if beside is not None:
                shutil.rmtree(beside, ignore_errors=True)
        logger.info("data set %s: is in %s", name, folder)

    def _fetch(self) -> None:
        try:
            super()._download()
        except SystemExit as error:
            raise OSError("it was declined") from error
        except (ValueError, RuntimeError) as error:
            # RecBole waits for other processes after the download even where there are none.
            if "process group" not in str(error):
                raise


@dataclass
class Split:
    """The loaded data set and its three parts, shared by both roles.

    Attributes:
        dataset: the whole data set, ids remapped to 1, 2, and so on; 0 is padding.
        train, valid, test: RecBole data sets of the parts.
        valid_loader, test_loader: RecBole's evaluation loaders, shared by both roles.
    """

    dataset: Dataset
    train: Dataset
    valid: Dataset
    test: Dataset
    valid_loader: Any
    test_loader: Any
    _fingerprint: str = field(default="", repr=False)

    @property
    def n_users(self) -> int:
        """Number of users, padding user 0 included."""
        return self.dataset.user_num

    @property
    def n_items(self) -> int:
        """Number of items, padding item 0 included."""
        return self.dataset.item_num

    def pairs(self, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Users and items of one part's interactions.

        Args:
            part: train, valid or test.

        Returns:
            Two int64 tensors of the part's length, RecBole's inner ids, never padding; repeated pairs stay repeated.
        """
        features = getattr(self, part).inter_feat
        return features[self.dataset.uid_field], features[self.dataset.iid_field]

    @property
    def fingerprint(self) -> str:
        """Hash of what a model can see of the data: both id maps and every interaction of every part. 16 hex digits."""
        if not self._fingerprint:
            digest = hashlib.sha256()
            for name in (self.dataset.uid_field, self.dataset.iid_field):
                digest.update("\n".join(map(str, self.dataset.field2id_token[name])).encode())
            for part in ("train", "valid", "test"):
                for tensor in self.pairs(part):
                    digest.update(f"{part}{len(tensor)}".encode() + tensor.numpy().tobytes())
            self._fingerprint = digest.hexdigest()[:16]
        return self._fingerprint

    def statistics(self) -> dict[str, Any]:
        """Counts of `users` and `items` (without padding) and `interactions`, `split` by part, and `fingerprint`."""
        return {
            "users": self.n_users - 1,
            "items": self.n_items - 1,
            "interactions": self.dataset.inter_num,
            "split": {part: len(getattr(self, part)) for part in ("train", "valid", "test")},
            "fingerprint": self.fingerprint,
        }


def load_split(config: Config) -> Split:
    """Load, filter and split the data set as RecBole does, and check that both roles can learn from it.

    Args:
        config: settings of the run.

    Raises:
        DataError: a missing, empty or malformed file, or data on which nothing can be distilled.
        ConfigError: a cut-off above the number of items, or a setting that names no column, encoding or separator.
    """
    name = config["dataset"]
    init_seed(config["seed"], config["reproducibility"])
    _check_files(config)
    try:
        dataset = AtomicDataset(config)
        _check_size(dataset, config)
        built = dataset.build()
        for part, rows in zip(("training", "validation", "test"), built, strict=True):
            if len(rows) == 0:
                raise DataError(f"data set {name}: the {part} part is empty; change eval_args or benchmark_filename")
        _, valid_sampler, test_sampler = create_samplers(config, dataset, built)
        train, valid, test = built
        valid_loader = make_evaluation_loader(config, "valid", valid, valid_sampler)
        test_loader = make_evaluation_loader(config, "test", test, test_sampler)
    except (ValueError, KeyError, NotImplementedError, AssertionError, UnicodeDecodeError) as error:
        raise DataError(f"data set {name}: {_explain(error)}") from error
    return Split(dataset, train, valid, test, valid_loader, test_loader)


def _check_files(config: Config) -> None:
    """Say before anything is read which file is missing, or which setting cannot name columns."""
    for key in ("USER_ID_FIELD", "ITEM_ID_FIELD"):
        if not config[key]:
            raise ConfigError(f"{key}={config[key]!r}: must name a column of the data")
    for kind, columns in (config["load_col"] or {}).items():
        if columns != "*" and not (isinstance(columns, list | tuple) and all(isinstance(c, str) for c in columns)):
            raise ConfigError(f"load_col: {kind}={columns!r}: expected a list of columns, or '*' for all")
        if kind == "inter" and columns != "*":
            for key in ("USER_ID_FIELD", "ITEM_ID_FIELD"):
                if config[key] not in columns:
                    raise ConfigError(f"load_col: inter={columns!r}: lacks {config[key]}, the column that {key} names")
    folder, name = Path(config["data_path"]), config["dataset"]
    try:
        if not folder.exists():
            return  # RecBole may know where to download it
    except OSError as error:
        raise DataError(f"data_path: {shown(str(folder), 200)}: {error.strerror}") from error
    for part in config["benchmark_filename"] or [""]:
        file = folder / (f"{name}.{part}.inter" if part else f"{name}.inter")
        if not file.is_file():
            raise DataError(f"data file {file} does not exist")


def _check_size(dataset: Dataset, config: Config) -> None:
    users, items = dataset.user_num - 1, dataset.item_num - 1
    if users < 2 or items < 2:
        raise DataError(
            f"{users} user(s) and {items} item(s) are left after filtering; distillation needs at least two of each"
        )
    if max(config["topk"]) > items:
        raise ConfigError(f"topk={config['topk']}: above the number of items, {items}")


def _explain(error: Exception) -> str:
    text = str(error)
    if "is not exist in interaction" in text:
        return "the time of the interactions is not loaded; name its column in TIME_FIELD and in load_col"
    if "not defined in dataset" in text:
        return f"{text.rstrip('.')}; name it in load_col, or leave it out of val_interval"
    if "feat is empty" in text:
        return (
            "no user or item is left after filtering; loosen user_inter_num_interval, item_inter_num_interval or "
            "val_interval"
        )
    if "interacted with all items" in text:
        return (
            "a user has seen every item, so nothing is left to rank for them; filter such users with "
            "user_inter_num_interval"
        )
    return " ".join(text.split()) or type(error).__name__


def train_loader(config: Config, split: Split) -> Any:
    """The training loader RecBole has for a role's backbone, freshly seeded; see `recbole_bd.loading`.

    Args:
        config: settings of the role, whose `model` is the backbone's name: RecBole chooses loaders by name.
        split: the data.
    """
    return make_train_loader(config, split.dataset, [split.train, split.valid, split.test])


@dataclass(frozen=True)
class Batch:
    """One batch of the distillation stage.

    Attributes:
        roles: the roles that learn from it; several when their loaders are the same.
        interaction: what RecBole's loader gave, for the models' own loss.
        users: int64 [B], users for whom items are exchanged; padding is out, users may repeat.
        positives: int64 [B], each user's training item in this batch; None when the loader gives users only.
        negatives: int64 [N], the items that the loader drew as negatives, several per positive where the settings say
            so; None when it draws none.
        place: of the share of one of several processes: how many users of the whole batch stand before these, and how
            many it has; None for a whole batch.
    """

    roles: tuple[str, ...]
    interaction: Interaction
    users: torch.Tensor
    positives: torch.Tensor | None
    negatives: torch.Tensor | None = None
    place: tuple[int, int] | None = None

    def share(self, own: Group) -> tuple["Batch", float, float]:
        """The part of one of several processes.

        Returns:
            Its rows, and its weights in means over the whole batch: over the rows of `interaction`, and over users.
        """
        rows, of_rows = own.share(len(self.interaction))
        users, of_users = own.share(len(self.users))
        positives = None if self.positives is None else self.positives[users]
        negatives = None if self.negatives is None else self.negatives[own.share(len(self.negatives))[0]]
        place = (users.start, len(self.users))
        part = Batch(self.roles, self.interaction[rows], self.users[users], positives, negatives, place)
        return part, of_rows, of_users

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        positives, negatives = (None if ids is None else ids.to(device) for ids in (self.positives, self.negatives))
        users = self.users.to(device)
        return Batch(self.roles, self.interaction.to(device), users, positives, negatives, self.place)


class BatchStream:
    """Batches of the distillation stage, for every role that learns.

    Roles whose loader settings are equal share one stream. Otherwise each passes over its own data once an epoch,
    interleaved in proportion to their lengths, so that neither runs ahead.

    Args:
        loaders: RecBole training loader by role; the same object for roles that share it.
    """

    def __init__(self, loaders: dict[str, Any]):
        self._streams: list[tuple[tuple[str, ...], Any]] = []
        for loader in dict.fromkeys(loaders.values()):
            self._streams.append((tuple(role for role, own in loaders.items() if own is loader), loader))

    @property
    def shared(self) -> bool:
        """Whether all roles learn from the same batches."""
        return len(self._streams) == 1

    @property
    def loaders(self) -> list[Any]:
        """The loaders, none twice, in their order."""
        return [loader for _, loader in self._streams]

    @property
    def dataset(self) -> Dataset:
        """The training part, where RecBole's collector looks for it."""
        return self._streams[0][1]._dataset

    def get_model(self, model: torch.nn.Module) -> None:
        """RecBole hands over the model for dynamic negative sampling; each loader has its role's already."""

    def __len__(self) -> int:
        return sum(len(loader) for _, loader in self._streams)

    def __iter__(self) -> Iterator[Batch]:
        order = [
            ((step + 0.5) / len(loader), index)
            for index, (_, loader) in enumerate(self._streams)
            for step in range(len(loader))
        ]
        iterators = [iter(loader) for _, loader in self._streams]
        for _, index in sorted(order):
            roles, loader = self._streams[index]
            yield _batch(roles, loader, next(iterators[index]))


def _batch(roles: tuple[str, ...], loader: Any, interaction: Interaction) -> Batch:
    user_field, item_field = loader._dataset.uid_field, loader._dataset.iid_field
    users = interaction[user_field]
    if not isinstance(loader, TrainDataLoader):
        return Batch(roles, interaction, users[users > 0], None)
    # RecBole repeats the positives once per negative, the first of them being the positive rows themselves.
    count = len(users) // loader.times
    items = interaction[item_field]
    # Pairwise loaders give negatives a column of their own, pointwise ones the rows behind the positives.
    column = loader.config["NEG_PREFIX"] + item_field
    negatives = interaction[column] if column in interaction else items[count:]
    return Batch(roles, interaction, users[:count], items[:count], negatives if len(negatives) else None)


def batch_stream(configs: dict[str, Config], split: Split, model_of: Callable[[str], torch.nn.Module]) -> BatchStream:
    """Build the loaders of the distillation stage.

    Args:
        configs: settings of each role that learns, by name.
        split: the data.
        model_of: the model of a role, asked for by RecBole's dynamic negative sampling only.
    """
    loaders: dict[str, Any] = {}
    made: dict[tuple, Any] = {}
    for role, config in configs.items():
        negatives = config["train_neg_sample_args"]
        dynamic = bool(negatives.get("dynamic"))
        kind = (
            get_dataloader(config, "train"),
            config["MODEL_INPUT_TYPE"],
            config["train_batch_size"],
            config["shuffle"],
            config["transform"],
            role if dynamic else None,
            str(sorted(negatives.items(), key=str)),
        )
        if kind not in made:
            made[kind] = train_loader(config, split)
            if dynamic:
                made[kind].get_model(model_of(role))
        loaders[role] = made[kind]
    return BatchStream(loaders)
