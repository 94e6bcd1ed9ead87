"""Short flags of a setting that lies in a section."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import tyro

from roadmap_shared.config import parse_config
from roadmap_shared.errors import UserError


@dataclass(kw_only=True, frozen=True)
class ReadingConfig:
    password: Annotated[str, tyro.conf.arg(aliases=["--password"])] = ""
    """Opens a file."""
    pages: Annotated[int, tyro.conf.arg(aliases=["--pages"])] = 3
    """Pages to read."""


@dataclass(kw_only=True, frozen=True)
class IngestConfig:
    paths: tyro.conf.Positional[tuple[str, ...]] = ()
    """Files."""
    reading: ReadingConfig = field(default_factory=ReadingConfig)


def parsed(*arguments: str) -> IngestConfig:
    return parse_config(IngestConfig, arguments, prog="toy", description="Toy.", configs=Path("none"), default=None)


@pytest.mark.parametrize(
    ("arguments", "password"),
    [
        (["--password", "a b"], "a b"),
        (["--password=--x=y"], "--x=y"),
        (["--reading.password", "old", "--password", "new"], "new"),
        (["--password", "old", "--reading.password", "new"], "new"),
    ],
)
def test_an_alias_means_the_setting(arguments: list[str], password: str) -> None:
    assert parsed(*arguments).reading.password == password


def test_behind_two_hyphens_it_is_a_value() -> None:
    assert parsed("a.pdf", "--", "--password").paths == ("a.pdf", "--password")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--password"], "--reading.password: needs a value: a text"),
        (["--pages", "x"], "--reading.pages: 'x' is not a whole number"),
        (["--passwrd", "x"], "unknown flag '--passwrd'. Did you mean '--reading.password'?"),
    ],
)
def test_mistakes_name_the_setting(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parsed(*arguments)
    assert str(caught.value) == message


def test_help_shows_both(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--help")
    assert "--password TEXT, --reading.password TEXT" in capsys.readouterr().out
