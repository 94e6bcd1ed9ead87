"""What goes wrong between this program and a server, as messages for people."""

import email.utils
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx2
import openai

from roadmap_shared.errors import UserError, one_line
from text_generation.backends.retrying import TemporaryError

_TEMPORARY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_LONGEST_QUOTE = 300  # characters


def shown_address(base_url: str) -> str:
    """The address without a name and a password that it may hold."""
    parts = urlsplit(base_url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def not_understood(server: str, what: str) -> TemporaryError:
    """The error for an answer that no OpenAI-compatible server gives."""
    return TemporaryError(f"{server} answered, but {what}. Does --backend.base_url end in /v1?")


@contextmanager
def translated(server: str, model: str, key: str, timeout: float) -> Iterator[None]:
    """Within it, the client's exceptions become `TemporaryError`, where another attempt may help, or `UserError`.

    Args:
        server: what messages call it.
        model: the model that is asked.
        key: the API key; it is taken out of what the server says.
        timeout: seconds after which the client gave up.
    """
    try:
        yield
    except openai.APITimeoutError as error:
        raise TemporaryError(f"{server} did not answer within {timeout:g} seconds") from error
    except openai.APIConnectionError as error:
        cause = error.__cause__ or error
        what = "cannot be reached" if isinstance(cause, httpx2.ConnectError) else "broke off"
        raise TemporaryError(f"{server} {what}: {_quoted(cause, key)}") from error
    except openai.APIStatusError as error:
        raise _status_error(error, server, model, key) from error
    except (openai.APIResponseValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise not_understood(server, "what it sent is no JSON") from error
    except openai.APIError as error:
        # An error that comes inside a stream has no status of its own.
        raise TemporaryError(f"{server} broke off: {_quoted(error.message, key)}") from error


def _status_error(error: openai.APIStatusError, server: str, model: str, key: str) -> Exception:
    said = _quoted(_said(error), key)
    status = error.status_code
    # A spent quota is a 429 as well, but no wait mends it.
    if status in _TEMPORARY and error.code != "insufficient_quota":
        return TemporaryError(f"{server} answered {status}: {said}", _retry_after(error.response.headers))
    if status in (401, 403):
        return UserError(
            f"{server} refused the key ({status}): {said}. Put a valid one into the variable that "
            "--backend.api_key_env names."
        )
    if status == 404:
        return UserError(f"{server} knows no model '{model}' at this address ({status}): {said}")
    return UserError(f"{server} refused the request ({status}): {said}")


def _said(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        message = body.get("message") or body.get("detail")
        if isinstance(message, str):
            return message
    return error.message


def _quoted(text: object, key: str) -> str:
    """A foreign message on one line, without the key and what steers a terminal, and of a length that a line bears."""
    line = one_line(text) or "no reason given"
    if key:
        line = line.replace(key, "[key]")
    return line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "…"


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds to wait, from `retry-after-ms` or from `Retry-After`, which is a number or a date (RFC 9110, section
    10.2.3)."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) * unit)
        except ValueError:
            pass
        date = email.utils.parsedate_tz(value)
        if date is not None:
            return max(0.0, email.utils.mktime_tz(date) - time.time())
    return None
