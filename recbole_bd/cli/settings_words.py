"""Free settings on the command line: `--key=value`, `--key value`, `--config_files FILE ...` and `--dry-run`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_bd.errors import ConfigError, did_you_mean
from recbole_bd.system.startup import quick_imports


def parse_arguments(words: Sequence[str]) -> tuple[dict[str, Any], list[str], bool]:
    """Read `--key=value` and `--key value` as RecBole's users write them.

    Args:
        words: the command line after the command.

    Returns:
        Settings with values as text or parsed as YAML, configuration files, and whether this is a dry run.

    Raises:
        ConfigError: a word that is no setting, a key without value, or one key with two values.
    """
    pairs, files, dry_run = _split(words)
    return _read(pairs), files, dry_run


def parse_without_dry_run(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Read the settings of a command that starts several runs.

    Args:
        words: the command line after the command.

    Returns:
        Settings with values as text or parsed as YAML, and configuration files.

    Raises:
        ConfigError: as in `parse_arguments`, or `--dry-run`.
    """
    pairs, files, dry_run = _split(words)
    if dry_run:
        raise ConfigError("--dry-run applies to a single run: recbole-bd run --dry-run")
    return _read(pairs), files


def _split(words: Sequence[str]) -> tuple[list[tuple[str, str]], list[str], bool]:
    """Keys and values as typed, configuration files, and whether this is a dry run."""
    pairs: list[tuple[str, str]] = []
    files: list[str] = []
    dry_run = False
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if not word.startswith("--") or word == "--":
            raise ConfigError(f"{word!r} is not a setting: {_way_out(word, pairs)}")
        key, equals, text = word[2:].partition("=")
        if key in ("dry-run", "dry_run") and not equals:
            dry_run = True
            continue
        if key.replace("-", "").replace("_", "").lower() == "dryrun":
            raise ConfigError(f"--{key}: write --dry-run, without a value")
        if key == "config_files":
            following = _values_from(words, index)
            index += len(following)
            files += _file_names(([text] if equals else []) + following)
            continue
        if not equals:
            if index == len(words) or words[index].startswith("--"):
                hint = did_you_mean(f"--{key}", ("--help", "--dry-run"), cutoff=0.75)
                raise ConfigError(f"--{key} has no value: write --{key}=value.{hint}".removesuffix("."))
            text = words[index]
            index += 1
        pairs.append((key, text))
    return pairs, files, dry_run


def _way_out(word: str, pairs: Sequence[tuple[str, str]]) -> str:
    """How to write a word: as a setting, or as a further value of the key before it."""
    if not pairs or "=" in word:
        return "write --key=value"
    key, text = pairs[-1]
    values = [value for value in f"{text},{word}".strip("[]").split(",") if value]
    return f"write --key=value, and several values with commas and without spaces, such as --{key}={','.join(values)}"


def _read(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    if not pairs:
        return {}
    with quick_imports():
        from recbole_bd.config.text_options import read_word  # knows all options, which takes seconds to import
    settings: dict[str, Any] = {}
    for key, text in pairs:
        value = read_word(key, text)
        if key in settings and settings[key] != value:
            raise ConfigError(f"--{key} is given twice, {settings[key]!r} and {value!r}")
        settings[key] = value
    return settings


def _file_names(chunks: list[str]) -> list[str]:
    """Split words at spaces, as RecBole's users write several files in one word; an existing file is one name."""
    found = [name for chunk in chunks for name in ([chunk] if Path(chunk).is_file() else chunk.split())]
    if not found:
        raise ConfigError("--config_files needs a file: write --config_files FILE")
    return found


def _values_from(words: Sequence[str], index: int) -> list[str]:
    end = index
    while end < len(words) and not words[end].startswith("--"):
        end += 1
    return list(words[index:end])
