"""Vectors by evolution in a random subspace, without gradients (BBT)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cuecard.errors import ConfigError
from cuecard.lazy import lazy_module, np, torch
from cuecard.methods import PromptTuning
from cuecard.search.budget import Amount
from cuecard.search.candidate import PromptCandidate, held_vectors
from cuecard.search.searcher import SearchState
from cuecard.search.searchers.writing import instruction_of
from cuecard.search.solver import EngineSolver
from cuecard.training.trainables.initial_method import init_context

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

cma = lazy_module("cma")

# The paper's: dimensions of the subspace, candidates a generation, rows that they are scored on,
# vectors where there are no words to start from.
_DIMENSIONS, _POPULATION, _ROWS, _LENGTH = 500, 20, 32, 50
# Generations between two races.
_GENERATIONS = 5
# The first step, as a share of the size of the model's inputs.
_ALPHA = 1.0
# In place of a loss that is not finite.
_WORST = 1e30


class BBT:
    """CMA-ES over z, with the prompt p = p0 + A z.

    Sun et al. 2022, "Black-Box Tuning for Language-Model-as-a-Service" (ICML), section 3, with the
    normal A that BBTv2 (Sun et al. 2022, EMNLP, section 4.2) scales to the embeddings. p0 are the
    embeddings of the instruction, so that the search begins at the start; without an instruction
    they are sampled from the vocabulary, as in the paper. A generation is scored in shared passes,
    by the cross-entropy of what is right.
    """

    def __init__(self) -> None:
        self._subspace: _Subspace | None = None
        self._evolution: Any = None
        self._generation = 0

    async def propose(self, state: SearchState, count: int) -> list[PromptCandidate]:
        """The mean that some more generations lead to, and the best of their candidates.

        It stops while these can still race.
        """
        if self._subspace is None:
            self._subspace = _Subspace.of(state)
            population = state.settings.population or _POPULATION
            self._evolution = _evolution(self._subspace.dimensions, population, state.rng)
        if self._evolution.stop():
            return []
        rows = state.sample(state.settings.step_rows or _ROWS)
        assert isinstance(state.solver, EngineSolver)  # what it needs
        seen: list[tuple[float, PromptCandidate]] = []
        cost = Amount()
        for _ in range(_GENERATIONS):
            if seen and not state.affords(cost):
                break
            self._generation += 1
            points = self._evolution.ask()
            tried = self._candidates(points, f"generation {self._generation}")
            cost = state.solver.most(tried[0], rows) * len(tried)
            found = await state.solver.likelihoods(tried, rows)
            losses = [-float(np.mean([each.right for each in row])) for row in found]
            losses = [loss if np.isfinite(loss) else _WORST for loss in losses]
            self._evolution.tell(points, losses)
            seen += zip(losses, tried, strict=True)
        mean = self._candidates([self._evolution.mean], f"mean of generation {self._generation}")
        best = sorted(seen, key=lambda pair: pair[0])
        return [*mean, *(candidate for _, candidate in best)][:count]

    def most(self, state: SearchState, count: int) -> Amount:
        """See `RunsModel.most`."""
        bare, p0, settings = *_origin(state), state.settings
        prompt = replace(bare, soft=held_vectors(torch.from_numpy(p0)))
        rows = state.longest(prompt, settings.step_rows or _ROWS)
        generation = state.solver.most(prompt, rows) * (settings.population or _POPULATION)
        return generation * _GENERATIONS

    def _candidates(self, points: list[Floats], origin: str) -> list[PromptCandidate]:
        assert self._subspace is not None
        return self._subspace.candidates(points, origin)


class _Subspace:
    """Prompts p0 + A z.

    Args:
        bare: the prompt without the words that vectors stand for.
        p0: [P, H] float32.
        directions: A, [P * H, d] float32.
    """

    def __init__(self, bare: PromptCandidate, p0: Any, directions: Any) -> None:
        self._bare, self._p0, self._directions = bare, p0, directions

    @property
    def dimensions(self) -> int:
        """d."""
        return int(self._directions.shape[1])

    @classmethod
    def of(cls, state: SearchState) -> _Subspace:
        """The subspace of a search, drawn by its seed."""
        assert state.model is not None  # what it needs
        backbone, (bare, p0) = state.model.backbone, _origin(state)
        dimensions = min(_DIMENSIONS, p0.size)
        size = _ALPHA * float(backbone.typical_inputs.float().std()) / dimensions**0.5
        drawn = state.rng.standard_normal((p0.size, dimensions), dtype=np.float32)
        return cls(bare, p0, drawn * np.float32(size))

    def candidates(self, points: list[Floats], origin: str) -> list[PromptCandidate]:
        """The prompts at some points [d]."""
        moved = np.asarray(points, dtype=np.float32) @ self._directions.T
        return [
            replace(
                self._bare,
                soft=held_vectors(torch.from_numpy(self._p0 + each.reshape(self._p0.shape))),
                origin=origin,
            )
            for each in moved
        ]


def _origin(state: SearchState) -> tuple[PromptCandidate, NDArray[np.float32]]:
    """The start without its instruction, and p0 [P, H] in place of that."""
    assert state.model is not None  # what it needs
    backbone, text = state.model.backbone, instruction_of(state.start)
    reason = backbone.unsupported("input-tokens")
    if reason is not None:
        raise ConfigError(
            "this searcher needs a backbone that takes vectors",
            where=f"--searcher bbt, backbone {backbone.name}",
            got=reason,
        )
    start = (
        PromptTuning(text=state.start.prompt.instruction)
        if text
        else PromptTuning(init="vocabulary", length=_LENGTH)
    )
    seed = int(state.rng.integers(2**31))
    p0 = start.start(init_context(backbone, state.spec, seed)).cpu().numpy()
    return PromptCandidate(replace(state.start.prompt, instruction="")), p0


def _evolution(dimensions: int, population: int, rng: np.random.Generator) -> Any:
    """CMA-ES from the origin with a step of 1; draws by `rng` alone."""
    own = np.random.default_rng(int(rng.integers(2**63)))
    options = {
        "popsize": population,
        "randn": lambda *shape: own.standard_normal(shape),
        "seed": np.nan,  # leave numpy's own state alone
        "verbose": -9,
        "verb_log": 0,
    }
    return cma.CMAEvolutionStrategy(np.zeros(dimensions), 1.0, options)
