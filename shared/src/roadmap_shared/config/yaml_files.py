"""YAML files as a source of settings: each value stays the text that stands in the file.

PyYAML would turn `yes` into True, `010` into 8, `1.10` into 1.1 and leave `1e-3` a string. Here a scalar
keeps its text, and the one parser that also reads the command line gives it the field's type. Only null
(`null`, `~`, nothing, and a plain `None`, which Python's users write) is special: it is None, for a setting
that takes None.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path, PurePath
from typing import Any

import yaml

from roadmap_shared.config.settings import Setting, nearest, sections_of, settings_of, values_of
from roadmap_shared.errors import UserError, did_you_mean, one_line

# Marks a text that the parser would otherwise take for a flag or for None. The command line cannot hold a
# NUL.
TEXT_MARK = "\0"


def find_config(chosen: str, shipped: Traversable | Path) -> tuple[Traversable | Path, str]:
    """Find the YAML file that `--config` names: a shipped config ("full"), or else a path.

    Returns:
        The file, and its name as messages show it: "full.yaml", or the path as the user typed it.

    Raises:
        UserError: there is no such file.
    """
    names = sorted(file.name[: -len(".yaml")] for file in shipped.iterdir() if file.name.endswith(".yaml"))
    if chosen in names:
        return shipped / f"{chosen}.yaml", f"{chosen}.yaml"
    path = Path(chosen)
    if path.is_dir():
        raise UserError(f"--config {chosen}: is a folder, not a YAML file")
    if not path.exists():
        hint = did_you_mean(chosen, names)
        known = f"The shipped configs are: {', '.join(names)}." if names else "No config is shipped: give a path."
        raise UserError(f"--config {chosen}: no such file. {f'{hint} ' if hint else ''}{known}")
    return path, chosen


def read_settings(source: Traversable | Path, config_class: type, file_name: str) -> dict[str, list[str]]:
    """Read a YAML file into the texts of each setting: {"trainer.lr": ["1e-3"], "data.tags": ["a", "b"]}.

    `file_name` is how messages name the file.

    Raises:
        UserError: the file cannot be read, is not YAML, or names a setting that the config class does not
            have.
    """
    settings = settings_of(config_class)
    root = _compose(source, file_name)
    if root is None or _is_null(root):
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise UserError(
            f"{file_name}: must hold settings such as '{next(iter(settings))}: …', not a list or a bare value"
        )
    return dict(_flatten(root, "", settings, file_name))


def to_yaml(config: Any) -> str:
    """Return a config as YAML that gives an equal config when it is passed back as `--config`."""
    tree: dict[str, Any] = {}
    for name, value in values_of(config).items():
        *sections, leaf = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[leaf] = value
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.SafeDumper):
    """Writes a list on one line, a path as text, and the text "None" in quotes: plain, it means null."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, value: object) -> yaml.Node:
    # PyYAML reads U+0085 and its like back as a space, unless they are escaped.
    style = '"' if str(value) == "None" or not str(value).isprintable() else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style=style)


def _represent_list(dumper: yaml.SafeDumper, value: Any) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_multi_representer(PurePath, _represent_text)
for _collection in (list, tuple, set, frozenset):
    _Dumper.add_representer(_collection, _represent_list)


def _compose(source: Traversable | Path, file_name: str) -> yaml.Node | None:
    """Parse the file into a tree of nodes: nothing is constructed, so no tag in it can run code."""
    try:
        text = source.read_bytes().decode("utf-8-sig")
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise UserError(f"{file_name}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.reader.ReaderError) as error:
        raise UserError(f"{file_name}: is not a text file in UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{file_name}{line}: is not valid YAML: {one_line(error.problem)}") from error


def _flatten(
    section: yaml.MappingNode, prefix: str, settings: dict[str, Setting], file_name: str
) -> Iterator[tuple[str, list[str]]]:
    """Yield the dotted name and the texts of every setting below a section."""
    seen: set[str] = set()
    for key, node in section.value:
        name = f"{prefix}{key.value if isinstance(key, yaml.ScalarNode) else '?'}"
        if name in seen:
            raise UserError(f"{file_name}, line {key.start_mark.line + 1}: '{name}' is set twice: keep one of them")
        seen.add(name)
        if name in settings:
            yield name, _texts(node, settings[name], file_name)
        elif name not in sections_of(settings):
            hint = nearest(name, settings) or f"Known: {', '.join(settings)}."
            raise UserError(f"{file_name}: unknown setting '{name}'. {hint}")
        elif isinstance(node, yaml.MappingNode):
            yield from _flatten(node, f"{name}.", settings, file_name)
        elif not _is_null(node):
            raise UserError(f"{file_name}: '{name}' is a section: write its settings indented below it")


def _texts(node: yaml.Node, setting: Setting, file_name: str) -> list[str]:
    """Return the texts of one setting's value, None as "None"."""
    if isinstance(node, yaml.MappingNode):
        raise UserError(f"{file_name}: '{setting.name}' is one setting, not a section")
    if isinstance(node, yaml.SequenceNode) and not setting.takes_list:
        raise UserError(f"{file_name}: '{setting.name}' is a list; expected {setting.expected}")
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    scalars = [item for item in items if isinstance(item, yaml.ScalarNode)]
    if len(scalars) < len(items):
        raise UserError(f"{file_name}: '{setting.name}' holds a list within a list; expected {setting.expected}")
    return [_text(scalar, setting, file_name) for scalar in scalars]


def _text(node: yaml.ScalarNode, setting: Setting, file_name: str) -> str:
    if _is_null(node):
        if not setting.takes_none:
            raise UserError(f"{file_name}: '{setting.name}' is empty; expected {setting.expected}")
        return "None"
    if setting.takes_text and (node.value.startswith(("-", TEXT_MARK)) or node.value == "None"):
        return TEXT_MARK + node.value
    return node.value


def _is_null(node: yaml.Node) -> bool:
    is_plain_none = isinstance(node, yaml.ScalarNode) and node.value == "None" and node.style is None
    return is_plain_none or node.tag == "tag:yaml.org,2002:null"
