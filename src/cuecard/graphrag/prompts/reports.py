"""The prompts that sum descriptions up and that report on communities of entities."""

from __future__ import annotations

from cuecard.graphrag.prompts.filling import escaped, filled, lined
from cuecard.graphrag.prompts.sources import CorpusProfile

_SUMMARY = """\
[[persona]]

# Task
Below are descriptions of one entity, or of the connection between two, from several texts about \
[[domain]]. Write one description of it in [[language]]:
- Keep every fact, and say it once.
- Where descriptions contradict each other, say what can be said with certainty.
- Write in the third person, and use the names of the entities.
- Add nothing that is not in the descriptions.
[[limit]]
# Data
Entities: {entity_name}
Descriptions: {description_list}

# Output
"""
_SUMMARY_LIMIT = "- Write at most {max_length} words.\n"

_REPORT = """\
[[persona]]

# Task
You are [[role]]. Write a report in [[language]] on a community: entities that are closely \
connected, with their relationships and, if there are any, claims about them.

# Parts of the report
- title: a short name for the community, with the names of its most important entities.
- summary: what the community is, how its entities are connected, and what matters most about it.
- rating: a number from 0 to 10. [[rating]]
- rating_explanation: one sentence on why it is this number.
- findings: 5 to 10 insights, fewer where the data has fewer. Each has a summary in one sentence, \
and an explanation in one or more paragraphs.

# References
Every statement names the records that it rests on, by their ids in the data:
[Data: Entities (2, 7); Relationships (23)]
One reference has at most five ids; where there are more, the five that matter most and "+more":
[Data: Relationships (4, 8, 15, 16, 23, +more)]
Write nothing that no record supports.
[[limit]]
# Form
Answer with one JSON object and nothing else:
{{
    "title": "...",
    "summary": "...",
    "rating": 5.0,
    "rating_explanation": "...",
    "findings": [{{"summary": "...", "explanation": "... [Data: Entities (2)]"}}]
}}

# Data
{input_text}

# Output
"""
_REPORT_LIMIT = "The whole report has at most {max_report_length} words.\n"


def summary_prompt(profile: CorpusProfile, *, limited: bool = True) -> str:
    """Sums descriptions up: {entity_name}, {description_list}, and {max_length} if limited."""
    limit = _SUMMARY_LIMIT if limited else ""
    return filled(_SUMMARY, limit=limit, **_written(profile))


def report_prompt(profile: CorpusProfile, *, limited: bool = True) -> str:
    """Reports on a community: {input_text}, and {max_report_length} if limited."""
    limit = _REPORT_LIMIT if limited else ""
    return filled(_REPORT, limit=limit, **_written(profile))


def _written(profile: CorpusProfile) -> dict[str, str]:
    return {name: escaped(lined(text)) for name, text in profile.to_dict().items()}
