"""Calls of a Qdrant server whose failures are one clear line."""

import json
from collections.abc import Callable
from typing import TypeVar

from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from rag_qa.config.store import StoreConfig
from rag_qa.document_processor.server_attempts import attempt
from roadmap_shared.errors import UserError, one_line

Result = TypeVar("Result")

_REMEDY = "start it, as with `docker run -p 6333:6333 qdrant/qdrant`, or give another --store.url"


class _Away(Exception):
    """The server was not reached, or is not ready yet."""


def calling(call: Callable[[], Result], config: StoreConfig, server: str) -> Result:
    """Return what `call` returns, which must be harmless to repeat.

    Args:
        call: what is asked of the server.
        config: how often it is tried, and which variable holds the key.
        server: its kind and address, for messages.

    Raises:
        UserError: the server is not reached, refuses, has no time, or is no Qdrant.
    """

    stranger = UserError(f"{server}: does not answer as Qdrant does: give another --store.url")

    def tried() -> Result:
        try:
            return call()
        except ResourceExhaustedResponse as error:
            raise _Away(f"it asks to wait {error.retry_after_s} s: {one_line(error)}") from None
        except json.JSONDecodeError:
            raise stranger from None
        except ResponseHandlingException as error:
            if isinstance(error.source, ValueError):  # pydantic's: an answer without what belongs into it
                raise stranger from None
            raise _Away(one_line(error) or type(error.source).__name__) from None
        except UnexpectedResponse as error:
            if error.status_code in (502, 503, 504):
                raise _Away(f"status {error.status_code}") from None
            raise UserError(_refused(error, config, server)) from None

    return attempt(tried, retries=config.retries, unreachable=_Away, server=server, remedy=_REMEDY)


def _refused(error: UnexpectedResponse, config: StoreConfig, server: str) -> str:
    advice = "see the server's log"
    if error.status_code in (401, 403):
        advice = f"set its key in the environment variable {config.api_key_env}"
    reason = _reason(error.content) or error.reason_phrase
    return f"{server}: refused with status {error.status_code} ({reason}): {advice}"


def _reason(content: bytes) -> str:
    """Qdrant's own words where it is Qdrant that answers, otherwise the beginning of the page."""
    try:
        return one_line(json.loads(content)["status"]["error"])
    except (ValueError, KeyError, TypeError):
        return one_line(content.decode(errors="replace"))[:200]
