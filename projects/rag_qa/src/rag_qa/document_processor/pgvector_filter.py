"""Filters as PostgreSQL's JSON: `metadata @> '{"field": "value"}'`, answered by an index."""

import json

from rag_qa.document_processor.metadata_filter import server_text
from rag_qa.document_processor.pgvector_connection import psycopg
from rag_qa.protocols import Condition, Where


def conditions(where: Where) -> tuple[psycopg.sql.Composable, list[str]]:
    """SQL of a filter with its values. A field may hold a value or a list of them: both forms are asked for."""
    forms = [[form for value in condition.any_of for form in _forms(condition, value)] for condition in where]
    if not forms:
        return psycopg.sql.SQL("true"), []
    groups = [
        psycopg.sql.SQL("({})").format(
            psycopg.sql.SQL(" OR ").join([psycopg.sql.SQL("metadata @> %s::jsonb")] * len(one))
        )
        for one in forms
    ]
    return psycopg.sql.SQL(" AND ").join(groups), [form for one in forms for form in one]


def _forms(condition: Condition, value: str | int) -> tuple[str, str]:
    field, value = server_text(condition.field), server_text(value)
    return json.dumps({field: value}), json.dumps({field: [value]})
