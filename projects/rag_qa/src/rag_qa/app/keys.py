"""API keys: who asks, in which groups, with which rights.

The file holds no key but the sha256 of each, so that reading it gives nobody a key:

    3f2c…(64 hexadecimal digits): {user: alice, groups: [hr, finance], admin: false}

`python -m rag_qa.app.keys alice hr finance` makes a key and prints its line. Keys are random, so a fast hash is enough.
"""

import argparse
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rag_qa.types import User
from roadmap_shared.errors import UserError, one_line

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
"""Names of users and groups: they become parts of file names and of log lines."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Caller:
    """Who sends a request."""

    user: User
    admin: bool = False
    """May delete what it sees, read analytics and metrics. Being an admin opens no document: groups do."""


ANONYMOUS = User().name


class KeyRing:
    """The keys of one file."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        """Args:
        callers: by the sha256 of their key, in small hexadecimal digits.
        """
        self._callers = dict(callers)

    def caller(self, key: str | None) -> Caller | None:
        """Whose key it is, or None. The time it takes does not depend on how much of a digest is right."""
        digest = digest_of(key or "")
        found = None
        for known, caller in self._callers.items():
            if hmac.compare_digest(known, digest):
                found = caller
        return found if key else None

    def __len__(self) -> int:
        return len(self._callers)


def digest_of(key: str) -> str:
    """sha256 of a key, as the file has it."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def load_keys(path: Path) -> KeyRing:
    """The keys of a YAML or JSON file.

    Raises:
        UserError: it cannot be read, or an entry is wrong; the message says which.
    """
    try:
        entries = yaml.load(path.read_text(encoding="utf-8-sig"), _Strict)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--keys {path}: cannot be read ({getattr(error, 'strerror', None) or 'no UTF-8'})") from error
    except yaml.YAMLError as error:
        raise UserError(f"--keys {path}: no YAML or JSON ({one_line(error)[:200]})") from error
    if not isinstance(entries, dict) or not entries:
        raise UserError(f"--keys {path}: must map sha256 digests of keys to users, as python -m rag_qa.app.keys writes")
    return KeyRing(
        {_digest(digest, path): _caller(entry, f"--keys {path}: {digest}") for digest, entry in entries.items()}
    )


def _digest(digest: object, path: Path) -> str:
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        # Whatever it is, it may be a key: it is not shown.
        raise UserError(f"--keys {path}: an entry is no sha256 digest of 64 small hexadecimal digits, in quotes")
    return digest


def _caller(entry: Any, place: str) -> Caller:
    if not isinstance(entry, dict) or not isinstance(entry.get("user"), str):
        raise UserError(f"{place}: needs a user, as in {{user: alice, groups: [hr]}}")
    if unknown := set(entry) - {"user", "groups", "admin"}:
        raise UserError(f"{place}: unknown field {sorted(map(str, unknown))[0]!r}; there are user, groups and admin")
    groups, admin = entry.get("groups", []), entry.get("admin", False)
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise UserError(f"{place}: groups must be a list of names")
    if not isinstance(admin, bool):
        raise UserError(f"{place}: admin must be true or false")
    for name in (entry["user"], *groups):
        if not NAME.fullmatch(name):
            raise UserError(f"{place}: {name[:80]!r} is no name: letters, digits, and . _ @ - inside, 64 at most")
    if entry["user"] == ANONYMOUS:
        raise UserError(f"{place}: the user cannot be called {ANONYMOUS}: that is who asks without keys")
    return Caller(User(name=entry["user"], groups=tuple(groups)), admin)


class _Strict(yaml.SafeLoader):
    """Refuses a digest that is there twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := next((name for index, name in enumerate(names) if name in names[:index]), None):
            raise yaml.constructor.ConstructorError(None, None, f"{str(twice)[:80]} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def new_key(user: str, groups: Sequence[str], admin: bool) -> tuple[str, str]:
    """A random key of 256 bits, and its line for the file.

    Raises:
        UserError: a name cannot be used.
    """
    key = f"rag-{secrets.token_urlsafe(32)}"
    digest = digest_of(key)
    _caller({"user": user, "groups": list(groups)}, "a key")
    return key, f'"{digest}": {{user: {user}, groups: [{", ".join(groups)}], admin: {str(admin).lower()}}}'


def main(argv: Sequence[str] | None = None) -> None:
    """Print a key and its line."""
    parser = argparse.ArgumentParser(prog="python -m rag_qa.app.keys", description=main.__doc__)
    parser.add_argument("user", help="name of the user")
    parser.add_argument("groups", nargs="*", help="groups of the user, besides public")
    parser.add_argument("--admin", action="store_true", help="may delete what it sees and read the analytics")
    given = parser.parse_args(argv)
    try:
        key, line = new_key(given.user, given.groups, given.admin)
    except UserError as error:
        parser.error(str(error))
    print(f"the key, shown this once: {key}\nits line for the file of --keys:\n{line}")


if __name__ == "__main__":
    main()
