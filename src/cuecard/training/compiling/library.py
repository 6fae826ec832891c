"""Compile several texts in shared passes of their backbone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cuecard.errors import ConfigError, Interrupted
from cuecard.folder_lock import held
from cuecard.interrupts import may_cut, stoppable
from cuecard.plain_files import is_file_name
from cuecard.training.compiling.compiler import COMMAND, TextCompiler
from cuecard.training.compiling.outcome import CompileRun
from cuecard.training.distilling.together import TRAINING, SharedTraining
from cuecard.training.loop import stopped_in
from cuecard.training.setup import key_of
from cuecard.training.storage.log import Observer


class TextLibrary:
    """Texts on one backbone, each with a compiler of its own.

    All are asked first, one after the other; then every length of every text is trained in the same
    passes. The keys and values of all texts are in memory meanwhile.

    Args:
        compilers: by name; the folder of each is the library's and its name.
        folder: the library's; None keeps nothing. The same texts in the folder are resumed.
        observer: called with every event of the training; see `SharedTraining`.

    Raises:
        ConfigError: no texts, or a name that is no folder's.
    """

    def __init__(
        self,
        compilers: Mapping[str, TextCompiler],
        *,
        folder: Path | None = None,
        observer: Observer | None = None,
    ) -> None:
        if not compilers or not all(map(is_file_name, compilers)):
            raise ConfigError(
                "not the names of texts",
                where="compilers",
                got=", ".join(map(repr, compilers)) or "none",
                expected="one or more, each a name that a folder can have",
            )
        # In one order however they are given, which is that of the checkpoint.
        self._compilers = dict(sorted(compilers.items()))
        self._folder, self._observer = folder, observer

    def run(self) -> dict[str, CompileRun]:
        """Ask, train and compare; see `TextCompiler.run`."""
        with held(self._folder), stoppable(self._stopped):
            asked = {name: one.prepare() for name, one in self._compilers.items()}
            setups = {
                f"{name}/{part}": setup
                for name, text in asked.items()
                for part, setup in text.setups.items()
            }
            starts = {
                f"{name}/{part}": start
                for name, text in asked.items()
                for part, start in text.starts.items()
            }
            training = SharedTraining(
                setups, starts, COMMAND, self._folder, self._observer, self._room
            )
            runs = training.run()
            with may_cut():
                return {
                    name: one.finish(
                        asked[name], {part: runs[f"{name}/{part}"] for part in asked[name].setups}
                    )
                    for name, one in self._compilers.items()
                }

    @property
    def _room(self) -> str:
        """Where the checkpoint goes; texts that come later are trained with one of their own."""
        keys = {name: one.key for name, one in self._compilers.items()}
        return f"{TRAINING}/{key_of(keys)[:10]}"

    def _stopped(self) -> Interrupted:
        return stopped_in("stopped before the end of the compilation", self._folder, COMMAND)
