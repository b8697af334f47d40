"""VADER's four sets of sentences, rated from -4 (most negative) to 4 by some twenty people each.

Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text",
ICWSM 2014. The label is the sign of the mean rating; sentences with a mean of zero are left out.
"""

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from search_spaces.errors import RetryableError
from trainers.part_files import Report
from trainers.parts import PARTS, fetch_part
from trainers.tasks.rows import Row, TaskSource, refuse_own_fields
from trainers.workload import Task

PART = PARTS["vaderSentiment"]
OPTIONS = (" negative", " positive")


@dataclass(frozen=True, kw_only=True)
class RatedSet:
    """One of the four sets."""

    file: str
    """File inside the archive: id, mean rating and text, separated by tabs."""
    noun: str
    """What the prompt calls a sentence."""
    description: str


SETS: Mapping[str, RatedSet] = {
    "vader_movie": RatedSet(
        file="movieReviewSnippets_GroundTruth.txt",
        noun="Review",
        description="10,568 sentences of film reviews, negative or positive",
    ),
    "vader_amazon": RatedSet(
        file="amazonReviewSnippets_GroundTruth.txt",
        noun="Review",
        description="3,610 sentences of product reviews, negative or positive",
    ),
    "vader_nyt": RatedSet(
        file="nytEditorialSnippets_GroundTruth.txt",
        noun="Sentence",
        description="4,946 sentences of newspaper editorials, negative or positive",
    ),
    "vader_tweets": RatedSet(
        file="tweets_GroundTruth.txt",
        noun="Tweet",
        description="4,196 tweets, negative or positive",
    ),
}


def parse(text: str, rated: RatedSet) -> list[Row]:
    """Rows of a set's file; rows with a mean rating of zero are left out.

    An untuned SmolLM2-135M ranks the options right for about 0.77 of the film sentences, but gives them little
    probability: a few dozen steps teach it to answer, and a bad learning rate takes it back to chance.
    """
    rows = []
    for line in text.splitlines():
        columns = line.split("\t", maxsplit=2)
        if len(columns) != 3 or not columns[2].strip():  # noqa: PLR2004 (id, rating, text)
            continue
        rating = float(columns[1])
        if rating != 0:
            prompt = f"{rated.noun}: {columns[2].strip()}\nSentiment:"
            rows.append(Row(prompt=prompt, options=OPTIONS, answer=int(rating > 0)))
    return rows


def _load(rated: RatedSet, task: Task, parts_dir: Path, report: Report) -> list[Row]:
    """Read one file of the archive within the archive."""
    del task
    archive = fetch_part(PART.name, parts_dir, report) / PART.file
    try:
        with tarfile.open(archive) as outer, tarfile.open(fileobj=outer.extractfile(PART.member)) as inner:
            member = inner.extractfile(f"hutto_ICWSM_2014/{rated.file}")
            content = member.read() if member else b""
    except (OSError, KeyError, tarfile.TarError) as error:
        raise RetryableError(
            f"The archive {str(archive)!r} is damaged: delete its folder, "
            "it is fetched again at the next start."
        ) from error
    return parse(content.decode("utf-8-sig"), rated)


def _check(task: Task, parts_dir: Path) -> None:
    del parts_dir
    refuse_own_fields(task)


SOURCES = tuple(
    TaskSource(
        name=name,
        description=rated.description,
        licence=f"MIT, package {PART.requirement}",
        load=partial(_load, rated),
        check=_check,
        part=PART.name,
    )
    for name, rated in SETS.items()
)
