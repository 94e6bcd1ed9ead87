"""What a registry knows beside the files of its versions, and how promotions and rollbacks change it. No files here."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from roadmap_shared.errors import UserError, one_line

Role = Literal["champion", "challenger"]
ROLES: tuple[Role, ...] = ("champion", "challenger")
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Version:
    """One registered variant."""

    number: int
    name: str
    """Of the variant."""

    created: float
    """Seconds since 1970."""

    digest: str
    """sha256 of its `variant.json`, which holds the sha256 of all other files."""


@dataclass(frozen=True, kw_only=True)
class Switch:
    """One change of the champion."""

    time: float
    action: Literal["promote", "rollback"]
    before: int | None
    after: int


@dataclass(frozen=True, kw_only=True)
class RegistryState:
    """All that a registry knows beside the files of its versions."""

    versions: tuple[Version, ...] = ()
    roles: Mapping[str, int] = field(default_factory=dict)
    history: tuple[Switch, ...] = ()

    def version(self, number: int) -> Version:
        """One of them.

        Raises:
            UserError: there is none of that number.
        """
        for version in self.versions:
            if version.number == number:
                return version
        there = ", ".join(str(version.number) for version in self.versions) or "none"
        raise UserError(f"version {number} is not in the registry (there: {there})")

    def promoted(self, number: int | None, now: float) -> "RegistryState":
        """The state with another champion.

        Raises:
            UserError: there is no such version, or no challenger where none is named.
        """
        number = self.roles.get("challenger") if number is None else number
        if number is None:
            raise UserError("there is no challenger to promote: name a version")
        self.version(number)
        before = self.roles.get("champion")
        if before == number:
            raise UserError(f"version {number} is the champion already")
        roles = {role: held for role, held in self.roles.items() if held != number} | {"champion": number}
        switch = Switch(time=now, action="promote", before=before, after=number)
        return replace(self, roles=roles, history=(*self.history, switch))

    @property
    def previous(self) -> int | None:
        """The champion before the present one. Promotions and rollbacks pair up like brackets."""
        before: list[int | None] = []
        for switch in self.history:
            if switch.action == "promote":
                before.append(switch.before)
            elif before:
                before.pop()
        return before[-1] if before else None

    def rolled_back(self, now: float) -> "RegistryState":
        """The state with the champion before.

        Raises:
            UserError: no champion was before.
        """
        target = self.previous
        if target is None:
            raise UserError("there is no earlier champion to go back to")
        self.version(target)
        switch = Switch(time=now, action="rollback", before=self.roles.get("champion"), after=target)
        roles = {role: held for role, held in self.roles.items() if held != target} | {"champion": target}
        return replace(self, roles=roles, history=(*self.history, switch))

    def to_json(self) -> str:
        """As a file."""
        return json.dumps({"format": _FORMAT} | asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "RegistryState":
        """Read what `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        record = json.loads(text)
        if not isinstance(record, dict) or record.get("format") != _FORMAT:
            raise ValueError("not of the form that this version writes")
        try:
            return cls(
                versions=tuple(Version(**item) for item in record["versions"]),
                roles={role: int(number) for role, number in record["roles"].items() if role in ROLES},
                history=tuple(Switch(**item) for item in record["history"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(one_line(error)) from error
