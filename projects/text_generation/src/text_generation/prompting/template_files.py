"""Reading template files, and the library of those that are shipped and those of the user."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from jsonschema.exceptions import SchemaError
from jsonschema.validators import Draft202012Validator, validator_for

from roadmap_shared.errors import UserError, did_you_mean, one_line
from text_generation.backends.prompts import ROLES
from text_generation.prompting.templates import Example, Template, Turn

SHIPPED = files("text_generation.prompting") / "library"
_FIELDS = {
    "name": str,
    "version": str,
    "description": str,
    "variables": dict,
    "examples": list,
    "text": str,
    "messages": list,
    "answer_prefix": str,
    "stop": list,
    "schema": dict,
}
_REQUIRED = ("name", "version", "description", "variables")
_KINDS = {str: "a text (in quotes, where it looks like a number)", dict: "a mapping of names to values", list: "a list"}


class TemplateLibrary:
    """Templates by name: the shipped ones and those of further folders. A file is read when it is asked for."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        """Args:
            folders: further folders with `NAME.yaml` files.

        Raises:
            UserError: a folder is missing, or two files have one name.
        """
        self._files: dict[str, tuple[Traversable | Path, str]] = {
            file.name[: -len(".yaml")]: (file, f"library/{file.name}")
            for file in sorted(SHIPPED.iterdir(), key=lambda file: file.name)
            if file.name.endswith(".yaml")
        }
        for folder in folders:
            if not folder.is_dir():
                raise UserError(f"{folder}: no such folder of templates")
            for path in sorted(folder.glob("*.yaml")):
                if path.stem in self._files:
                    raise UserError(
                        f"{path}: there is a template '{path.stem}' already ({self._files[path.stem][1]}). "
                        "Rename the file and its name field."
                    )
                self._files[path.stem] = (path, str(path))

    @property
    def names(self) -> list[str]:
        """Names of all templates, in the order of the alphabet."""
        return sorted(self._files)

    def get(self, name: str) -> Template:
        """Return the template of this name, or the one in the file of this path.

        Raises:
            UserError: there is none, or its file is not a template.
        """
        if name in self._files:
            return read_template(*self._files[name])
        path = Path(name)
        if path.suffix in (".yaml", ".yml"):
            return read_template(path, name)
        hint = did_you_mean(name, self.names) or f"Known: {', '.join(self.names)}; or give the path of a .yaml file."
        raise UserError(f"unknown template '{name}'. {hint}")

    def source_of(self, name: str) -> str:
        """Return the text of a template's file. Errors as for `get`."""
        self.get(name)
        file = self._files[name][0] if name in self._files else Path(name)
        return file.read_text(encoding="utf-8")


def read_template(file: Traversable | Path, shown: str) -> Template:
    """Read a template file.

    Args:
        file: the YAML file.
        shown: how messages name it.

    Raises:
        UserError: it cannot be read, is not YAML, or a field is missing, unknown or of the wrong kind.
    """
    fields = _checked(_parsed(file, shown), shown)
    stem = file.name.rsplit(".", 1)[0]
    if fields["name"] != stem:
        raise UserError(f"{shown}: its name is '{fields['name']}', but the file's is '{stem}'. Make them equal.")
    return Template(
        name=fields["name"],
        version=fields["version"],
        description=one_line(fields["description"]),
        variables={str(name): one_line(meaning or "") for name, meaning in fields["variables"].items()},
        source=shown,
        text=fields.get("text"),
        turns=tuple(_turns(fields.get("messages", []), shown)),
        examples=tuple(_examples(fields.get("examples", []), shown)),
        answer_prefix=fields.get("answer_prefix", ""),
        stop=tuple(_stops(fields.get("stop", []), shown)),
        schema=_schema(fields["schema"], shown) if "schema" in fields else None,
    )


def _parsed(file: Traversable | Path, shown: str) -> Any:
    try:
        return yaml.safe_load(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"{shown}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.reader.ReaderError) as error:
        raise UserError(f"{shown}: is not a text file in UTF-8. Save it as UTF-8.") from error
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(
            f"{shown}{line}: is not valid YAML: {one_line(error.problem)}. "
            "Indent with blanks, and put a text with ': ' or '{' in quotes or under '|-'."
        ) from error


def _checked(fields: Any, shown: str) -> dict[str, Any]:
    """Check names and kinds of the top-level fields."""
    if not isinstance(fields, dict):
        raise UserError(f"{shown}: must hold the fields {', '.join(_REQUIRED)} and text or messages")
    for name, value in fields.items():
        if name not in _FIELDS:
            hint = did_you_mean(str(name), _FIELDS) or f"Known: {', '.join(_FIELDS)}."
            raise UserError(f"{shown}: unknown field '{name}'. {hint}")
        if not isinstance(value, _FIELDS[name]):
            raise UserError(
                f"{shown}: the field '{name}' must be {_KINDS[_FIELDS[name]]}, not {json.dumps(value, default=str)}"
            )
    for name in _REQUIRED:
        if name not in fields:
            raise UserError(f"{shown}: the field '{name}' is missing. A template needs {', '.join(_REQUIRED)}.")
    if ("text" in fields) == ("messages" in fields):
        raise UserError(f"{shown}: give one of text (a text to go on with) and messages (a conversation to answer)")
    return fields


def _turns(items: list[Any], shown: str, *, each_example: bool = False) -> list[Turn]:
    turns: list[Turn] = []
    for number, item in enumerate(items, start=1):
        place = f"{shown}: message {number}"
        if isinstance(item, Mapping) and set(item) == {"each_example"} and not each_example:
            if not isinstance(item["each_example"], list):
                raise UserError(f"{place}: each_example must be a list of messages")
            turns += _turns(item["each_example"], shown, each_example=True)
            continue
        if not isinstance(item, Mapping) or set(item) != {"role", "content"}:
            raise UserError(f"{place} must have a role and a content, and nothing else")
        if item["role"] not in ROLES:
            raise UserError(f"{place} has the role '{item['role']}'. Roles are {', '.join(ROLES)}.")
        if not isinstance(item["content"], str):
            raise UserError(f"{place}: its content must be a text")
        turns.append(Turn(item["role"], item["content"], each_example))
    return turns


def _examples(items: list[Any], shown: str) -> list[Example]:
    for number, item in enumerate(items, start=1):
        if not isinstance(item, Mapping) or "answer" not in item:
            raise UserError(f"{shown}: example {number} must be a mapping with an 'answer' among its fields")
    return items


def _stops(items: list[Any], shown: str) -> list[str]:
    for number, item in enumerate(items, start=1):
        if not isinstance(item, str) or not item:
            raise UserError(f"{shown}: stop {number} must be a text that is not empty")
    return items


def _schema(schema: dict[str, Any], shown: str) -> dict[str, Any]:
    """The schema as JSON has it, checked by the metaschema that it names, by default that of draft 2020-12."""
    try:
        # YAML knows dates, numbers as names and mappings within themselves, which JSON does not.
        schema = json.loads(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{shown}: schema cannot be written as JSON: {one_line(error)}") from error
    if not isinstance(schema.get("$schema", ""), str):
        raise UserError(f"{shown}: schema.$schema must be a text")
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in error.path)
        # Of a choice that fails, the first branch says what is expected; the choice itself does not.
        reason = error.context[0].message if error.context else error.message
        raise UserError(f"{shown}: schema{place} is not valid JSON Schema: {one_line(reason)}") from error
    return schema
