"""Options of the shipped yaml files as text for the help, grouped by the comments in those files."""

from pathlib import Path

from recbole_bd.config.option import Option, declared_options


def option_groups(path: Path) -> list[tuple[str, list[Option]]]:
    """Options of a yaml file by group.

    Args:
        path: file whose lines `key: default  # (type) Meaning.` declare options. A comment after an empty line begins
            a group and is its title.

    Returns:
        Title and options of each group, in the order of the file. Options above the first group have an empty title.
    """
    options = declared_options(path)
    groups: list[tuple[str, list[Option]]] = [("", [])]
    before = None
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and before == "":
            groups.append((line.lstrip("# ").rstrip("."), []))
        elif (key := line.partition(":")[0]) in options:
            groups[-1][1].append(options.pop(key))
        before = line.strip()
    groups[-1][1].extend(options.values())
    return [(title, members) for title, members in groups if members]


def option_lines(options: list[Option]) -> str:
    """Two lines for each option: name, type and default; and its meaning.

    Args:
        options: options of one group.
    """
    lines = []
    for option in options:
        default = "~" if option.default is None else option.default
        lines.append(f"--{option.key} ({option.type}, default {default})")
        lines.append(f"      {option.meaning}")
    return "\n".join(lines)
