"""Shipped yaml files, which declare the options of this package and of its methods; read without torch."""

import logging
import os
from functools import cache
from pathlib import Path, PurePath

from recbole_bd.config.option import Option, declared_options
from recbole_bd.errors import ConfigError, did_you_mean
from recbole_bd.system.method_plugins import options_beside

logger = logging.getLogger(__name__)

# Shipped JSON schemas, made by `recbole-bd schema`: of configuration files, and of search spaces.
SETTINGS_SCHEMA = "settings.schema.json"
SPACE_SCHEMA = "search-space.schema.json"


def properties_path(*parts: str) -> Path:
    """Path of a shipped property file: beside the package in a checkout, inside it when installed.

    Args:
        parts: folders and file below properties/; the file need not exist.

    Raises:
        ConfigError: the folder properties/ is missing.
    """
    return _properties(__file__).joinpath(*parts)


@cache
def _properties(module: str) -> Path:
    package = Path(module).parents[1]
    for root in (package / "properties", package.parent / "properties"):
        if (root / "overall.yaml").is_file():
            return root
    raise ConfigError(f"properties/ is missing beside {package}: reinstall recbole-bd")


def file_or_shipped(path: str | Path) -> str:
    """Find a file that a user names, such as `properties/bd.yaml`, which an installed package has inside itself.

    Args:
        path: as the user wrote it.

    Returns:
        The path itself if there is such a file; else the path of the shipped file, which is told in the log once.

    Raises:
        ConfigError: neither exists; with the most similar name.
    """
    if os.path.exists(path):
        return str(path)
    first, *rest = PurePath(path).parts or ("",)
    if first != "properties" or not rest or not properties_path(*rest).is_file():
        several = " Several files are separated by spaces." if "," in str(path) else ""
        raise ConfigError(
            f"configuration file {path} cannot be read: no such file.{several or _similar(path)} recbole-bd configs ls "
            "shows the files of this package"
        )
    _tell(str(PurePath(path)), str(properties_path(*rest)))
    return str(properties_path(*rest))


def _similar(path: str | Path) -> str:
    """Suggest the file that is most like a missing one, of those shipped and those beside it."""
    root = properties_path()
    shipped = [PurePath("properties", file.relative_to(root)).as_posix() for file in root.rglob("*.yaml")]
    beside = [str(file) for file in Path(path).parent.glob("*.yaml")]
    return did_you_mean(str(PurePath(path)), [*shipped, *beside], cutoff=0.7)


@cache
def _tell(path: str, shipped: str) -> None:
    logger.warning("%s does not exist here; reading the file of this package, %s", path, shipped)


def package_options() -> dict[str, Option]:
    """Options of this package that hold for every method (`properties/overall.yaml`)."""
    return declared_options(properties_path("overall.yaml"))


def method_options(method: str | None) -> dict[str, Option]:
    """Options of one distillation method (`properties/model/<method>.yaml`); none for a baseline."""
    return declared_options(method_yaml(method)) if method else {}


def options_of_run(method: str | None) -> dict[str, Option]:
    """Options of this package that a run with a method has; None for a baseline."""
    return package_options() | method_options(method)


def method_yaml(method: str) -> Path:
    """Path of the yaml file that declares a method's options; a baseline has no such file."""
    shipped = properties_path("model", f"{method}.yaml")
    return shipped if shipped.is_file() else options_beside(method) or shipped
