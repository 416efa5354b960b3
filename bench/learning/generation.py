"""Generation: snips texts to JSON in increments, beside training anew on everything after each of them.

The lessons are corrections: a text, and the JSON with intent and slots that is right. Exact match is of what a version
writes, decoded greedily, by value of the JSON (`shared.grading`). Perplexity is of plain sentences that are no task at
all, before and after: what an increment must not unlearn. What thumbs and preferences bring is in `opinions`.

All ways run one after another, since a training takes some three gigabytes. Of the whole there are hours of CPU; what
is quick learns next to nothing of seven intents, and so has two of them, and no bars that need all of the data.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean

from bench.learning import course
from bench.learning.jobs import Clock, workers
from bench.learning.line import Kind, Line, joint
from bench.learning.opinions import Gained, Survey, answers, ask
from bench.learning.opinions import figures as of_opinions
from bench.learning.outcomes import JOINT, NAIVE, OURS
from bench.report import Figure, Tell, at_least, at_most
from cli.examples import read_rows
from shared.datasets import Row
from shared.errors import BadInputError
from shared.grading import rouge_l, same_output, tidy
from shared.lm.generation import Generation
from shared.policy import Training
from shared.text import normalise

WRITER = Kind("generation", "SmolLM2-135M-Instruct")
DATA = course.DATA.parent / "snips"
VERSION = "asked"


@dataclass(frozen=True)
class Plan:
    """How much is learned and asked."""

    corrections: int
    increments: int
    tests: int
    plain: int
    seeds: int
    config: Training
    survey: Survey
    intents: tuple[str, ...] = ()  # none are all
    bars: bool = True
    data: Path = DATA


CONFIG = Training(  # one pass over much replay teaches more than two over little (docs/log.md)
    seed_epochs=3,
    max_epochs=1,
    batch_size=16,
    min_replay=625,
    keep=0.0,
    dev_share=0.05,
    step_sizes=(0.5, 0.7, 1.0),
)
THEN = CONFIG.model_copy(update={"min_replay": 500})
FEW = CONFIG.model_copy(
    update={"batch_size": 8, "min_replay": 8, "layers": 8, "learning_rate": 2e-3, "step_sizes": (1.0,)}
)
WHOLE = Plan(
    corrections=1000,
    increments=8,
    tests=200,
    plain=200,
    seeds=1,
    config=CONFIG,
    survey=Survey(lessons=500, asked=2000, pairs=1000, tests=700, first=CONFIG, then=THEN),
)
QUICK = Plan(
    corrections=20,
    increments=2,
    tests=6,
    plain=20,
    seeds=1,
    config=FEW,
    survey=Survey(lessons=10, asked=6, pairs=6, tests=6, first=FEW, then=FEW.model_copy(update={"max_epochs": 1})),
    intents=("SearchCreativeWork", "GetWeather"),
    bars=False,
)


@dataclass(frozen=True)
class Written:
    """What a way came to."""

    cpu_s: float
    exact: float
    rouge: float
    perplexity: float

    def __str__(self) -> str:
        """For who waits."""
        return f"{self.exact:.1f} % exact after {self.cpu_s:.0f} s of CPU, perplexity {self.perplexity:.2f}"


def measure(quick: bool, tell: Tell, stream: str | None, data: Path | None) -> list[Figure]:
    """All figures; there is one order of the lessons, so no stream to ask for.

    Raises:
        BadInputError: a stream was asked for, or the data is not there.
    """
    if stream:
        raise BadInputError("no_stream", "Generation has one order of its lessons: leave out --stream.", "stream")
    plan = replace(QUICK if quick else WHOLE, data=data or DATA)
    with workers(at_once=1) as pool:  # a training of a language model takes gigabytes
        runs = [
            {way: pool.submit(go_through, way, seed, plan) for way in (JOINT, OURS, NAIVE)}
            for seed in range(plan.seeds)
        ]
        for run in runs:
            for way, one in run.items():
                one.add_done_callback(partial(_told, tell, way))
        found = [{way: one.result() for way, one in run.items()} for run in runs]
        untaught = pool.submit(from_base, plan).result()
        tell(f"the base: perplexity {untaught:.2f}")
        surveyed = pool.submit(asked, plan).result()
    return figures(found, untaught, plan.bars) + of_opinions(surveyed)


def _told(tell: Tell, way: str, done: Future[Written]) -> None:
    tell(f"{way}: {'stopped' if done.cancelled() else done.exception() or done.result()}")


def figures(runs: Sequence[dict[str, Written]], untaught: float, bars: bool) -> list[Figure]:
    """The table's lines of increments, means over seeds; no share of an exact match of 0 %."""
    enough, cheap = (at_least(95.0), at_most(40.0)) if bars else (None, None)

    def line(name: str, what: str, unit: str, **others: float) -> Figure:
        values = {way: [getattr(run[way], what) for run in runs] for way in (OURS, JOINT, NAIVE)}
        peers = {way: mean(some) for way, some in values.items() if way != OURS} | others
        return Figure(name, mean(values[OURS]), unit, None, (min(values[OURS]), max(values[OURS])), peers)

    exact = [100 * run[OURS].exact / run[JOINT].exact for run in runs if run[JOINT].exact]
    share = [100 * run[OURS].cpu_s / run[JOINT].cpu_s for run in runs]
    worse = [100 * (run[OURS].perplexity / untaught - 1) for run in runs]
    kept = [Figure(f"… of that of {JOINT}", mean(exact), "%", enough, (min(exact), max(exact)))] if exact else []
    return [
        line("snips to JSON: exact match", "exact", "%"),
        *kept,
        line("… ROUGE-L", "rouge", "%"),
        line("… CPU time of all increments", "cpu_s", "s"),
        Figure(f"… of that of {JOINT}", mean(share), "%", cheap, (min(share), max(share))),
        line("perplexity of plain English", "perplexity", "", base=untaught),
        Figure("… worse than the base", mean(worse), "%", at_most(5.0), (min(worse), max(worse))),
    ]


def go_through(way: str, seed: int, plan: Plan) -> Written:
    """Learn all corrections in one way, and write."""
    chance = random.Random(seed)
    rows, tests, plain = _data(plan, chance)
    task, clock = Generation(WRITER.base), Clock()
    with tempfile.TemporaryDirectory(prefix="learnback-bench-") as name:
        line = Line(Path(name), task, plan.config, replays=way == OURS, kind=WRITER)
        for number in range(plan.increments):
            known = rows[: (number + 1) * plan.corrections // plan.increments]
            files = Path(name) / f"anew-{number}"
            if way == JOINT:  # what people do: to teach the corrections and nothing else
                with clock.running():
                    joint(task, known, plan.config.model_copy(update={"fluency": 0.0}), files, kind=WRITER)
            else:
                line.give(known[number * plan.corrections // plan.increments :])
                with clock.running():
                    line.learn()
                files = line.files
        return written(task, files, clock.seconds, tests, plain)


def from_base(plan: Plan) -> float:
    """The base's perplexity, untaught: with an adapter that changes nothing."""
    causal = Generation(WRITER.base).causal
    causal.create(VERSION, 1, 1)
    return causal.perplexity(_data(plan, random.Random(0))[2], VERSION)


def asked(plan: Plan) -> dict[str, Gained]:
    """What opinions bring, on other rows than those that are corrected."""
    chance, survey = random.Random(1), plan.survey
    rows, tests = (_of_intents(plan, name) for name in ("train", "test"))
    return ask(chance.sample(rows, survey.lessons + survey.asked), chance.sample(tests, survey.tests), survey, WRITER)


def written(task: Generation, files: Path, cpu_s: float, tests: Sequence[Row], plain: Sequence[str]) -> Written:
    """What a version writes for the tests, and what it makes of plain sentences."""
    pairs = [(answer, row.label) for answer, row in zip(answers(task, files, tests), tests, strict=True)]
    task.load(VERSION, files)
    return Written(
        cpu_s,
        100 * mean(same_output(*pair) for pair in pairs),
        100 * mean(rouge_l(*pair) for pair in pairs),
        task.causal.perplexity(plain, VERSION),
    )


def _data(plan: Plan, chance: random.Random) -> tuple[list[Row], list[Row], list[str]]:
    """Corrections, tests, and the sentences of CLINC150 that are plain English here."""
    rows, tests = (_of_intents(plan, name) for name in ("train", "test"))
    plain = [row.text for row in read_rows(course.DATA / "test.jsonl")]
    return chance.sample(rows, plan.corrections), chance.sample(tests, plan.tests), chance.sample(plain, plan.plain)


def _of_intents(plan: Plan, name: str) -> list[Row]:
    """Texts with their JSON, each text once.

    Raises:
        BadInputError: the data is not there.
    """
    if not plan.data.is_dir():
        raise BadInputError("no_data", f"{plan.data} is missing: this bench reads snips there, train and test.jsonl.")
    found = map(json.loads, (plan.data / f"{name}.jsonl").read_text("utf-8").splitlines())
    rows = (
        Row(text=one["text"], label=tidy(json.dumps({"intent": one["intent"], **one["slots"]})))
        for one in found
        if not plan.intents or one["intent"] in plan.intents
    )
    return [*{normalise(row.text): row for row in rows}.values()]
