"""API keys from the environment and from a file, and how often each may ask.

Keys are kept as sha256 digests: of keys that are long and random, a fast hash is enough.
"""

import hashlib
import hmac
import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

from roadmap_shared.errors import UserError

KEYS_VARIABLE = "MODEL_OPTIMIZATION_API_KEYS"
ADMIN_VARIABLE = "MODEL_OPTIMIZATION_ADMIN_KEY"
LEAST_CHARACTERS = 16
_MOST_BYTES = 1_000_000
_MOST_BUCKETS = 10_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


class KeyRing:
    """Who may ask, by the digest of the key."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """Args:
        keys: name of each key's owner, by the key.
        """
        self._names = [(_digest(key), name) for key, name in keys.items()]

    def owner(self, key: str | None) -> str | None:
        """Whose key it is, or None. The time it takes does not depend on how much of a key is right."""
        given, found = _digest(key or ""), None
        for digest, name in self._names:
            if hmac.compare_digest(digest, given):
                found = name
        return found if key else None

    def __len__(self) -> int:
        return len(self._names)


def load_keys(path: Path | None, environment: Mapping[str, str] = os.environ) -> KeyRing:
    """The keys of the file and of the environment; an empty ring where there are none.

    Raises:
        UserError: the file cannot be read or holds no key; a key is too short or there twice.
    """
    lines = [("", line) for line in environment.get(KEYS_VARIABLE, "").split(",")]
    places = [f"{KEYS_VARIABLE}, key {number}" for number in range(1, len(lines) + 1)]
    if path is not None:
        of_file = _lines(path, "--serve.keys")
        lines += [_named(line) for line in of_file]
        places += [f"--serve.keys {path}, line {number}" for number in range(1, len(of_file) + 1)]
    keys: dict[str, str] = {}
    from_environment = len(environment.get(KEYS_VARIABLE, "").replace(",", " ").split())
    for place, (name, key) in zip(places, lines, strict=True):
        key = key.strip()
        if not key or (not name and key.startswith("#")):
            continue
        _check_key(key, place)
        if key in keys:
            raise UserError(f"{place}: is the key of {keys[key]}, too: each key is there once")
        keys[key] = name or f"key-{len(keys) + 1}"
    if path is not None and len(keys) == from_environment:
        raise UserError(f"--serve.keys {path}: holds no key: write one a line, as KEY or NAME: KEY")
    return KeyRing(keys)


def load_admin_key(path: Path | None, environment: Mapping[str, str] = os.environ) -> KeyRing:
    """The key of the admin routes; an empty ring where there is none.

    Raises:
        UserError: the file cannot be read or holds no key, or the key is too short.
    """
    if path is None:
        key, place = environment.get(ADMIN_VARIABLE, "").strip(), ADMIN_VARIABLE
    else:
        key, place = "".join(_lines(path, "--serve.admin_key")).strip(), f"--serve.admin_key {path}"
        if not key:
            raise UserError(f"{place}: holds no key")
    if not key:
        return KeyRing({})
    _check_key(key, place)
    return KeyRing({key: "admin"})


def _check_key(key: str, place: str) -> None:
    if len(key) < LEAST_CHARACTERS or not key.isascii() or any(sign.isspace() for sign in key):
        # Whatever it is, it may be a key: it is not shown.
        raise UserError(
            f"{place}: is no key of at least {LEAST_CHARACTERS} ASCII characters without blanks. Make one with: "
            'python -c "import secrets; print(secrets.token_urlsafe(32))"'
        )


def _named(line: str) -> tuple[str, str]:
    name, colon, key = line.partition(":")
    return (name.strip(), key) if colon and _NAME.fullmatch(name.strip()) and key.strip() else ("", line)


def _lines(path: Path, flag: str) -> list[str]:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8"
        raise UserError(f"{flag} {path}: cannot be read ({reason})") from error


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


class RateLimit:
    """A token bucket for each client: it holds `burst` tokens, is filled at a steady rate, and a request takes one.

    Over t minutes, no more than burst + t * per_minute requests pass. Buckets that were not used for longest are
    forgotten beyond 10,000. Belongs to one event loop.
    """

    def __init__(self, per_minute: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        per_minute: tokens that come in a minute; 0 sets no limit.
        burst: tokens of a full bucket.
        clock: tells the time in seconds.
        """
        self._rate, self._burst, self._clock = per_minute / 60, float(burst), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str) -> float:
        """Take a token; returns 0, or the seconds after which there is one again."""
        if not self._rate:
            return 0.0
        now = self._clock()
        tokens, then = self._buckets.pop(who, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        passed = tokens >= 1
        self._buckets[who] = (tokens - passed, now)
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return 0.0 if passed else (1 - tokens) / self._rate
