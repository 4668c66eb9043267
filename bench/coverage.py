"""Whether the intervals cover and the tests err as often as they say: python -m bench.coverage [--draws 1000]

    coverage    of the 95 % interval of a cell, and its mean width in points
    flat        share of flat curves that are called rising or falling at 5 % (and at 1 %)
    rising      share of rising curves that are called rising at 5 %, at 1 % and at 0.1 %
    paired      coverage of the interval of a difference, and share of equal cells that are called different at 5 %
    verdict     what is said of a cell whose runs are of the published run's kind, and of one that is 10 points off

A run is right on a question with a chance that depends on the question (standard deviation 2 in logits, which leaves
most questions easy or hard), on the run (so much that the accuracies of runs differ by the standard deviation given, in
points) and, where said, on the template of the question and on the point of the curve. What is to be covered is the
mean over all questions and runs that there could be.
"""

from __future__ import annotations

import argparse
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from ftcot.published import Published
from ftcot.statistics.intervals import pooled
from ftcot.statistics.paired import paired
from ftcot.statistics.trends import increasing
from ftcot.statistics.verdict import verdict

QUESTIONS = 2.0
"""Standard deviation of the questions, in logits."""

Right = NDArray[np.bool_]


class Kind:
    """Runs of one kind: of a mean accuracy, with so much noise."""

    _NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(61)

    def __init__(self, accuracy: float, points: float) -> None:
        """Args: accuracy: mean over questions and runs; points: standard deviation of runs, a fraction."""
        self.accuracy = accuracy
        self.noise = brentq(lambda noise: self._deviation(noise) - points, 0, 20) if points else 0.0
        self.middle = self._middle(self.noise)

    def _mean(self, middle: float, *deviations: float) -> float:
        return float(self._of_runs(middle, float(np.hypot.reduce(deviations)), np.zeros(1))[0])

    def _of_runs(self, middle: float, deviation: float, runs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Accuracy over all questions of runs that are off by so much."""
        chances = expit(middle + runs[:, None] + deviation * self._NODES)
        means: NDArray[np.float64] = chances @ self._WEIGHTS / self._WEIGHTS.sum()
        return means

    def _middle(self, noise: float) -> float:
        return float(brentq(lambda middle: self._mean(middle, QUESTIONS, noise) - self.accuracy, -60, 60))

    def _deviation(self, noise: float) -> float:
        means = self._of_runs(self._middle(noise), QUESTIONS, noise * self._NODES)
        weights = self._WEIGHTS / self._WEIGHTS.sum()
        return float(np.sqrt(weights @ (means - weights @ means) ** 2))

    def draw(self, rng: np.random.Generator, runs: int, questions: NDArray[np.float64]) -> Right:
        """(runs, n) right or wrong, on these questions."""
        noise = self.noise * rng.standard_normal((runs, 1))
        right: Right = rng.random((runs, len(questions))) < expit(self.middle + questions + noise)
        return right


def questions(rng: np.random.Generator, n: int, of_template: int = 1) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """How easy n questions are, and their templates, which account for half the variance where there are several."""
    templates = np.arange(n) // of_template
    shared = QUESTIONS * rng.standard_normal(n)[templates]
    if of_template == 1:
        return shared, templates
    return np.sqrt(0.5) * (shared + QUESTIONS * rng.standard_normal(n)), templates


def coverage(rng: np.random.Generator, draws: int) -> Iterator[str]:
    yield "| accuracy | questions | runs | runs differ by | covered | width |\n|---|---|---|---|---|---|"
    cases = [*product((0.5, 0.1), (111, 300, 1319), (1, 2, 3, 5), (0, 0.02, 0.05), (1,))]
    cases += [*product((0.5, 0.95), (180,), (1, 3), (0, 0.02), (2, 9))]
    for accuracy, n, runs, points, of_template in cases:
        if runs == 1 and points:
            continue
        kind, hits, width = Kind(accuracy, points), 0, 0.0
        for _ in range(draws):
            easy, templates = questions(rng, n, of_template)
            cell = pooled(kind.draw(rng, runs, easy), templates)
            hits += cell.low <= accuracy <= cell.high
            width += cell.high - cell.low
        several = f" in templates of {of_template}" if of_template > 1 else ""
        yield f"| {accuracy} | {n}{several} | {runs} | {100 * points:g} | {share(hits, draws)} | {width / draws:.3f} |"


def flat(rng: np.random.Generator, draws: int) -> Iterator[str]:
    yield "| accuracy | questions | points x runs | runs differ by | at 5 % | at 1 % |\n|---|---|---|---|---|---|"
    shapes = ((2, 3), (3, 3), (4, 1), (4, 2), (4, 3), (4, 5), (6, 3))
    cases: list[tuple[float, int, tuple[int, int], tuple[float, ...]]]
    cases = [*product((0.5,), (200, 1319), shapes, ((0.0,), (0.03,), (0.06,)))]
    cases += [*product((0.1, 0.95), (200,), ((4, 3),), ((0.0,), (0.02,)))]
    # Runs that differ most at one end: small models, or few questions to learn from.
    cases += [*product((0.5,), (200, 1319), ((4, 3), (4, 5)), ((0.08, 0.04, 0.01, 0.01),))]
    for accuracy, n, (points, runs), spreads in cases:
        kinds = [Kind(accuracy, spread) for spread in spreads] * (points // len(spreads))
        ps = np.array([increasing(curve(rng, kinds, n, runs)).p for _ in range(draws)])
        words = ", ".join(f"{100 * spread:g}" for spread in spreads)
        rates = " | ".join(share(int((ps < level).sum()), draws) for level in (0.05, 0.01))
        yield f"| {accuracy} | {n} | {points} x {runs} | {words} | {rates} |"


def rising(rng: np.random.Generator, draws: int) -> Iterator[str]:
    yield "| accuracies | questions | runs | runs differ by | at 5 % | at 1 % | at 0.1 % |"
    yield "|---|---|---|---|---|---|---|"
    curves = ((0.5, 0.55, 0.6, 0.65), (0.3, 0.4, 0.5, 0.6), (0.3, 0.55, 0.75, 0.85), (0.05, 0.1, 0.15, 0.2))
    for accuracies, n, runs, spread in product(curves, (200, 300), (1, 3), (0.02, 0.04)):
        kinds = [Kind(accuracy, spread) for accuracy in accuracies]
        found = [increasing(curve(rng, kinds, n, runs)) for _ in range(draws)]
        hits = [sum(trend.p < level and trend.effect > 0 for trend in found) for level in (0.05, 0.01, 0.001)]
        rates = " | ".join(share(hit, draws) for hit in hits)
        words = ", ".join(f"{accuracy:g}" for accuracy in accuracies)
        yield f"| {words} | {n} | {runs} | {100 * spread:g} | {rates} |"


def curve(rng: np.random.Generator, kinds: Sequence[Kind], n: int, runs: int) -> list[tuple[float, Right]]:
    """Points on the same questions; what makes one easy is to an eighth the point's own matter."""
    easy, _ = questions(rng, n)
    own = [questions(rng, n)[0] for _ in kinds]
    return [(x, kind.draw(rng, runs, np.sqrt(7 / 8) * easy + np.sqrt(1 / 8) * own[x])) for x, kind in enumerate(kinds)]


def differences(rng: np.random.Generator, draws: int) -> Iterator[str]:
    yield "| accuracies | questions | runs | runs differ by | covered | called different |\n|---|---|---|---|---|---|"
    ends = ((0.5, 0.5), (0.5, 0.6), (0.95, 0.95), (0.95, 0.98), (0.05, 0.2))
    for (a, b), n, runs, spread in product(ends, (111, 300), (1, 3), (0, 0.02)):
        if runs == 1 and spread:
            continue
        first, second, hits, called = Kind(a, spread), Kind(b, spread), 0, 0
        for _ in range(draws):
            easy, _ = questions(rng, n)
            found = paired(first.draw(rng, runs, easy), second.draw(rng, runs, easy))
            hits += found.low <= b - a <= found.high
            called += found.p < 0.05
        yield f"| {a}, {b} | {n} | {runs} | {100 * spread:g} | {share(hits, draws)} | {share(called, draws)} |"


def verdicts(rng: np.random.Generator, draws: int) -> Iterator[str]:
    yield "| published | ours | questions | runs | runs differ by | match | above | below | can't tell |"
    yield "|---|---|---|---|---|---|---|---|---|"
    pairs = ((0.1, 0.1), (0.5, 0.5), (0.1, 0.2), (0.5, 0.6))
    for (theirs, ours), n, runs, spread in product(pairs, (111, 180, 300, 1319), (1, 3), (0.0, 0.02, 0.04)):
        published, cell, words = Kind(theirs, spread), Kind(ours, spread), Counter[str]()
        for _ in range(draws):
            easy, _ = questions(rng, n)
            value = Published(float(published.draw(rng, 1, easy).mean()), "one evaluation", "", n=n)
            words[verdict(pooled(cell.draw(rng, runs, easy)), value).word] += 1
        rates = " | ".join(share(words[word], draws) for word in ("match", "above", "below", "can't tell"))
        yield f"| {theirs} | {ours} | {n} | {runs} | {100 * spread:g} | {rates} |"


def share(count: int, of: int) -> str:
    return f"{100 * count / of:.1f} %"


PARTS = {"coverage": coverage, "flat": flat, "rising": rising, "paired": differences, "verdict": verdicts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all by default")
    parser.add_argument("--draws", type=int, default=1000, help="of each line")
    asked = parser.parse_args()
    print(f"Python {platform.python_version()}, numpy {np.__version__}, {asked.draws} draws a line")
    for name in asked.parts or PARTS:
        print(f"\n### {name}\n")
        for line in PARTS[name](np.random.default_rng(0), asked.draws):
            print(line, flush=True)


if __name__ == "__main__":
    main()
