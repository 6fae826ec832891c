"""SQuAD's nested JSON (Rajpurkar et al. 2016, arXiv:1606.05250) as rows with a question each."""

from __future__ import annotations

import json
from typing import Any


def squad_rows(text: str) -> list[dict[str, Any]] | None:
    """Rows with "context", "question", "answers" and "id"; None for JSON of another form."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("data"), list):
        return None
    try:
        return [
            {
                "id": question.get("id"),
                "context": paragraph["context"],
                "question": question["question"],
                "answers": question["answers"],
            }
            for article in found["data"]
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        ]
    except (KeyError, TypeError, AttributeError):
        return None
