"""Shipped yaml files, which declare the options of this package and of its methods; read without torch."""

from pathlib import Path

from recbole_bd.config.option import Option, declared_options
from recbole_bd.errors import ConfigError
from recbole_bd.system.method_plugins import options_beside


def properties_path(*parts: str) -> Path:
    """Path of a shipped property file: beside the package in a checkout, inside it when installed.

    Args:
        parts: folders and file below properties/; the file need not exist.

    Raises:
        ConfigError: the folder properties/ is missing.
    """
    package = Path(__file__).parents[1]
    for root in (package / "properties", package.parent / "properties"):
        if (root / "overall.yaml").is_file():
            return root.joinpath(*parts)
    raise ConfigError(f"properties/ is missing beside {package}: reinstall recbole-bd")


def package_options() -> dict[str, Option]:
    """Options of this package that hold for every method (`properties/overall.yaml`)."""
    return declared_options(properties_path("overall.yaml"))


def method_options(method: str | None) -> dict[str, Option]:
    """Options of one distillation method (`properties/model/<method>.yaml`); none for a baseline."""
    return declared_options(method_yaml(method)) if method else {}


def method_yaml(method: str) -> Path:
    """Path of the yaml file that declares a method's options; a baseline has no such file."""
    shipped = properties_path("model", f"{method}.yaml")
    return shipped if shipped.is_file() else options_beside(method) or shipped
