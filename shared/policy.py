"""What the loop may do with a model: `learnback.toml`, validated at start, recorded in manifests and verdicts.

`[defaults.<section>]` holds for every model, `[models.<name>.<section>]` for one. Everything has a default, so that
a missing file is a policy too.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import ConfigError


class Section(BaseModel):
    """A frozen table of the file; unknown names are errors, since a typo would silently loosen a rule."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Share = Annotated[float, Field(ge=0, le=1)]


class Serving(Section):
    """What the predictor does."""

    solicit_rate: Share = Field(default=0.1, description="Probability that feedback is asked for, before the answer.")
    audit_rate: Share = Field(
        default=0.01, description="Probability that a reviewer is asked what is right, drawn by itself; 0: never."
    )
    top_k: int = Field(default=5, ge=1, le=20, description="Labels in an answer.")


class Trust(Section):
    """What makes feedback an example (recorder)."""

    quorum: int = Field(default=1, ge=1, description="Identified users who must agree.")
    anonymous_quorum: int = Field(default=2, ge=1, description="Independent voices, when nobody is identified.")
    new_label_users: int = Field(default=3, ge=1, description="Users, on different inputs, before a label is learned.")
    orphan_hours: float = Field(
        default=24, ge=1, le=720, description="Feedback waits so long for its prediction; `defaults` alone hold."
    )
    user_cap: int = Field(default=20, ge=1, description="A user's votes that count in one day.")
    user_share: Share = Field(default=0.05, description="Largest share of one increment from one user.")
    confident: Share = Field(
        default=0.98, description="A single volunteered voice against a champion this sure is quarantined."
    )
    burst_inputs: int = Field(
        default=5,
        ge=2,
        description="Near-duplicate inputs of as many users that begin within `burst_seconds`: a burst.",
    )
    burst_seconds: float = Field(default=600, gt=0, description="How close together a burst begins.")
    new_account_weight: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="What a vote weighs that a user gives when new; 0.4 is right for a public site.",
    )
    new_account_hours: float = Field(default=24, gt=0, description="How long a user is new after the first vote.")


class Trigger(Section):
    """When an increment is asked for (aggregator)."""

    min_examples: int = Field(default=64, ge=1, description="New usable examples that are enough.")
    every_seconds: float = Field(default=600, gt=0, description="The clock asks after this long …")
    every_min_examples: int = Field(default=16, ge=1, description="… with at least so many new usable examples.")
    slice_min_judged: int = Field(default=30, ge=5, description="Judged predictions before a slice can raise alarm.")
    bucket_seconds: int = Field(default=60, ge=1, description="Width of the time buckets that slices are counted in.")
    slice_tags: tuple[str, ...] = Field(
        default=(), description="Tags that slices are counted by; name those with few values that tell of no user."
    )


class Training(Section):
    """How an increment is made (trainer)."""

    rank: int = Field(default=16, ge=1, le=256, description="LoRA rank; α is twice the rank.")
    layers: int | None = Field(
        default=None, ge=1, description="Top layers that carry LoRA; 3 of an encoder, all of a language model."
    )
    max_epochs: int = Field(
        default=4,
        ge=1,
        description="Passes over up to 1,000 new and replayed examples; n times as many take √n times fewer,"
        " n times of a classifier.",
    )
    seed_epochs: int | None = Field(
        default=None,
        ge=1,
        description="The same for a new model's first examples; 15 of a classifier, 6 of a language model.",
    )
    plateau: Share = Field(
        default=0.01,
        description="A classifier's training ends with a pass that lowers the loss by less than this share of what all"
        " passes have; 0: after all passes.",
    )
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, description="Peak rate of the LoRA weights.")
    head_learning_rate: float = Field(default=5e-3, gt=0)
    preference: float = Field(default=0.1, ge=0, description="Weight of one output being better than another (DPO).")
    flipped: float = Field(
        default=0.0, ge=0, lt=0.5, description="Share of preference pairs expected the wrong way round (robust DPO)."
    )
    liking: float = Field(default=0.1, ge=0, description="Weight of an output being liked, or not (KTO).")
    beta: float = Field(default=0.1, gt=0, description="How much a nat of such a preference, or liking, says.")
    keep: float = Field(default=0.1, ge=0, description="Weight of saying what the champion says, on replayed examples.")
    fluency: float = Field(
        default=1.0,
        ge=0,
        description="Weight of reading plain text as the base does; a quarter of the inputs are read so.",
    )
    max_new: int = Field(default=2000, ge=1, description="New examples of one increment; the rest waits.")
    min_replay: int = Field(default=256, ge=0, description="Replayed examples, even when little is new.")
    head_replay: int = Field(
        default=3,
        ge=1,
        description="A classifier's head is fitted, in the end, to so many times the replayed examples.",
    )
    refresh_every: int = Field(
        default=20,
        ge=0,
        description="Promotions until a classifier is trained anew on all, a quarter as many after drift; 0: never.",
    )
    refresh_rows: int = Field(default=20_000, ge=1, description="Examples of such a refresh: the new, then by label.")
    dev_share: Share = Field(default=0.1, description="Share of the train side that only chooses λ and the epoch.")
    step_sizes: tuple[Share, ...] = Field(default=(0.3, 0.5, 0.7, 1.0), min_length=1, description="Grid of λ.")


class Gate(Section):
    """What a candidate must show (evaluator)."""

    mode: Literal["strict", "balanced", "fast"] = Field(
        default="balanced",
        description="What evidence counts and how alpha is spent: see the gate's modes.",
    )
    alpha: Share = Field(
        default=0.05, description="Chance of any false promotion in a champion's reign; of each candidate, when fast."
    )
    tries: int = Field(default=20, ge=1, description="Tests of a reign among which alpha is spent evenly; not if fast.")
    window: int = Field(default=3000, ge=1, description="Newest holdout rows that are evidence; older ones graduate.")
    silence: Literal["against", "fair"] = Field(
        default="against",
        description="What an answer counts that a user was asked for and did not give, where the two versions differ:"
        " `against` a change, the candidate's or the watch's, or nothing, on trust that who is silent does not depend"
        " on who was right.",
    )
    delta: Share = Field(default=0.02, description="Loss on the golden anchor that is still not inferior.")
    power: Share = Field(default=0.8, description="Power at which missing labels are counted.")
    latency_ratio: float = Field(default=1.5, gt=0, description="A candidate may take so many times as long to answer.")
    size_ratio: float = Field(default=2.0, gt=0, description="A candidate's weights may be so many times as large.")
    norm_ratio: float = Field(
        default=4.0, gt=0, description="A candidate's weights may have so many times the largest norm of its line."
    )
    trigger_share: Share = Field(
        default=0.5, description="Share of anchor texts that a rare new word may turn into one answer: else a trigger."
    )
    judge: str | None = Field(
        default=None,
        pattern=r"^[\w.]+:[\w.]+$",
        description="`module:function` that tells from input, output and target what is right, or how right it is"
        " from 0 to 1; without: equality.",
    )


class Trial(Section):
    """How a version proves itself on users before and after it becomes champion (evaluator)."""

    canary: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="Share of users whom a promoted candidate serves on trial first; 0: it is champion at once.",
    )
    canary_answers: int = Field(
        default=1000, ge=20, description="Solicited answers, to both versions, that end a trial which proved nothing."
    )
    watch_answers: int = Field(
        default=2000, ge=0, description="Solicited answers to a new champion that are held against its predecessor."
    )


class People(Section):
    """What reviewers may decide on versions (evaluator) and on the golden anchor (recorder)."""

    two: Literal["no", "names", "keys"] = Field(
        default="no",
        description="A second reviewer must agree before an alias moves or the golden anchor changes: of another name,"
        " or with another app's key.",
    )
    hours: float = Field(default=24, gt=0, description="A decision that could not be carried out by then is dropped.")


class Policy(Section):
    """All sections for one model."""

    serving: Serving = Serving()
    trust: Trust = Trust()
    trigger: Trigger = Trigger()
    training: Training = Training()
    gate: Gate = Gate()
    trial: Trial = Trial()
    people: People = People()


class Privacy(Section):
    """What becomes of personal data (recorder); of the whole installation, since feedback may come before its model."""

    redact: bool = Field(default=True, description="Replace e-mail addresses, phone numbers, accounts and secrets.")


class PolicyFile(Section):
    """The whole file."""

    privacy: Privacy = Privacy()
    defaults: Policy = Policy()
    models: dict[str, Policy] = Field(default_factory=dict)

    def of(self, model: str) -> Policy:
        """The policy of a model: its own section over the defaults."""
        return self.models.get(model, self.defaults)


def read_policy(path: Path) -> PolicyFile:
    """Read `learnback.toml`; a missing file means the defaults.

    Raises:
        ConfigError: with file, line, name and reason of each thing that is wrong.
    """
    if not path.exists():
        return PolicyFile()
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__}). It is a text in UTF-8.") from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    try:
        PolicyFile.model_validate(raw)  # as written, so that a wrong default is told once and at its own line
        defaults = raw.get("defaults", {})
        models = {name: _over(defaults, own) for name, own in raw.get("models", {}).items()}
        return PolicyFile.model_validate({**raw, "models": models})
    except ValidationError as error:
        problems = {_where(path, text, item["loc"], item["msg"]) for item in error.errors(include_url=False)}
        raise ConfigError("\n".join(sorted(problems))) from None


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _where(path: Path, text: str, location: tuple[int | str, ...], reason: str) -> str:
    names = [str(part) for part in location if isinstance(part, str)]
    line = _line(text, names)
    return f"{path}:{line}: {'.'.join(names)}: {reason}"


def _line(text: str, names: list[str]) -> int:
    """The line that sets the last of `names`, within its table if that is written out; else 1."""
    table, wanted, best = "", ".".join(names), 1
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([^\]]+?)\s*\]", line):
            table = header[1].replace('"', "").replace(" ", "")
            best = number if wanted == table or wanted.startswith(f"{table}.") else best
        elif (name := re.match(r"\s*([\w.-]+)\s*=", line)) and wanted == f"{table}.{name[1]}".strip("."):
            return number
    return best
