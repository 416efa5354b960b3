"""What a person at the command line sees: a bad file is one sentence with its place, and no text of a user."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.__main__ import learnback, main
from cli.birth import Birth, NotServedError
from cli.examples import read_examples
from cli.progress import describe
from schemas.events import CandidateTrained, ModelStateChanged, TrainingProgressed, VerdictReached
from shared.artifacts import ArtifactStore
from shared.datasets import Row, read_dataset, store_dataset
from shared.errors import ArtifactError, BadInputError, ConfigError, UnavailableError
from shared.identity import Keyring, read_secret
from tests.unit.events import EXAMPLES

SECRET_TEXT = "my password is swordfish"
GOOD = [{"text": f"{what} {n}", "label": what} for what in ("parcel", "refund") for n in range(3)]


@pytest.fixture(autouse=True)
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEARNBACK_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    return tmp_path


def learnback_(*arguments: str) -> Result:
    return CliRunner().invoke(learnback, arguments)


def add(*arguments: str) -> Result:
    return learnback_("models", "add", "helpdesk", "--task", "classification", "--base", "b", *arguments)


def written(path: Path, rows: Sequence[Any]) -> str:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path.name


BAD: dict[str, tuple[list[Any], str]] = {
    "not json": (["{text: 1}"], r"examples.jsonl:1: is not a JSON object; each line is"),
    "a list": ([*GOOD, ["a", "b"]], r"examples.jsonl:7: is not a JSON object"),
    "no label": ([*GOOD, {"text": SECRET_TEXT}], r"examples.jsonl:7: 'label' field required"),
    "wrong type": ([{"text": 3, "label": "a"}], r"examples.jsonl:1: 'text' input should be a valid string"),
    "empty text": ([{"text": "", "label": "a"}], r"examples.jsonl:1: 'text' string should have at least 1 character"),
    "NUL": ([{"text": SECRET_TEXT + "\x00", "label": "a"}], r"examples.jsonl:1: 'text' text must not hold NUL"),
    "blank line": ([*GOOD[:2], "", *GOOD[2:]], r"examples.jsonl:3: is not a JSON object"),
    "blank label": ([{"text": "a", "label": "  "}], r"examples.jsonl:1: 'label' is blank"),
    "one label": (GOOD[:3], r"examples.jsonl: all lines have the same label; a classifier needs at least 2"),
    "lonely label": ([*GOOD, {"text": "x", "label": "rare"}], r"examples.jsonl:7: no other line has its label"),
    "contradiction": (
        [*GOOD, {"text": "Parcel  1", "label": "refund"}],
        r"examples.jsonl:7: .* another label on line 2",
    ),
    "empty": ([], r"examples.jsonl: is empty; give a JSONL file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_examples_are_named_by_file_line_and_reason(name: str, installation: Path) -> None:
    rows, sentence = BAD[name]
    result = add("--examples", written(installation / "examples.jsonl", rows))
    assert isinstance(result.exception, BadInputError)
    with pytest.raises(BadInputError, match=f"^{sentence}"):
        raise result.exception
    assert "swordfish" not in str(result.exception)


WRITTEN: list[dict[str, Any]] = [
    {"text": "where is order 17?", "output": {"intent": "track", "slots": {"order": "17", "stadt": "Köln"}}},
    {"text": "write me a haiku", "output": "An old silent pond…"},
    {"text": "list the orders", "output": [17, 18.5, True, None]},
    {"text": "Where is order 17?", "output": ' {"slots":{"stadt":"K\\u00f6ln","order":"17"},"intent":"track"}'},
]
BAD_OUTPUTS: dict[str, tuple[list[Any], str]] = {
    "not json": (
        ["{text: 1}"],
        r"examples.jsonl:1: is not a JSON object; each line is .* an output may be a JSON object",
    ),
    "a number": (['"x"'], r"examples.jsonl:1: is not a JSON object"),
    "a label": ([*WRITTEN, {"text": SECRET_TEXT, "label": "a"}], r"examples.jsonl:5: 'output' field required"),
    "no text": ([{"output": SECRET_TEXT}], r"examples.jsonl:1: 'text' field required"),
    "wrong type": ([{"text": "a", "output": 3}], r"examples.jsonl:1: 'output' input should be a valid string"),
    "too long": ([{"text": "a", "output": ["x" * 10_000]}], r"examples.jsonl:1: 'output' string should have at most"),
    "blank": ([{"text": SECRET_TEXT, "output": " \n"}], r"examples.jsonl:1: 'output' is blank"),
    "contradiction": (
        [*WRITTEN, {"text": "Write me  a haiku", "output": "another"}],
        r"examples.jsonl:5: .* another output on line 2",
    ),
}


@pytest.mark.parametrize("name", BAD_OUTPUTS)
def test_bad_outputs_are_named_by_file_line_and_reason(name: str, installation: Path) -> None:
    rows, sentence = BAD_OUTPUTS[name]
    written(installation / "examples.jsonl", rows)
    with pytest.raises(BadInputError, match=f"^{sentence}") as refused:
        read_examples(Path("examples.jsonl"), "generation")
    assert "swordfish" not in str(refused.value)


def test_outputs_are_text_or_json_written_one_way(installation: Path) -> None:
    rows = read_examples(Path(written(installation / "examples.jsonl", WRITTEN)), "generation")
    assert [row.label for row in rows] == [
        '{"intent": "track", "slots": {"order": "17", "stadt": "Köln"}}',
        "An old silent pond…",
        "[17, 18.5, true, null]",
        WRITTEN[3]["output"],  # as it was written
    ]
    assert [row.text for row in rows] == [one["text"] for one in WRITTEN]


def test_one_output_is_enough_to_begin_with(installation: Path) -> None:
    result = learnback_("models", "add", "m", "--task", "generation", "--base", "b",
                        "--examples", written(installation / "examples.jsonl", WRITTEN[:1]))  # fmt: skip
    assert "No API key at .learnback/board.key" in str(result.exception)  # the examples were good
    assert '{"text", "output"}' in learnback_("models", "add", "--help").output.replace("\n", " ")


def test_a_missing_file_is_named() -> None:
    result = add("--examples", "nowhere.jsonl")
    assert str(result.exception).startswith("nowhere.jsonl: cannot be read (No such file or directory);")


def test_an_anchor_shares_no_words_with_the_examples(installation: Path) -> None:
    examples = written(installation / "examples.jsonl", GOOD)
    anchor = written(installation / "anchor.jsonl", [GOOD[0] | {"text": "0, PARCEL!"}])
    result = add("--examples", examples, "--anchor", anchor)
    assert str(result.exception).startswith("anchor.jsonl:1: the same words are among the examples")
    anchor = written(installation / "anchor.jsonl", [{"text": "new", "label": "unheard"}])
    result = add("--examples", examples, "--anchor", anchor)
    assert str(result.exception).startswith("anchor.jsonl:1: its label is not among those of the examples")


def test_a_model_has_a_name(installation: Path) -> None:
    examples = written(installation / "examples.jsonl", GOOD)
    result = learnback_("models", "add", "Help Desk", "--task", "classification", "--base", "b", "--examples", examples)
    assert isinstance(result.exception, BadInputError)
    assert result.exception.code == "invalid_name"


def test_without_a_key_it_says_how_to_make_one(installation: Path) -> None:
    result = add("--examples", written(installation / "examples.jsonl", GOOD))
    assert "No API key at .learnback/board.key" in str(result.exception)
    assert "learnback keys create NAME --scope review" in str(result.exception)


def test_keys_are_created_listed_and_revoked(installation: Path) -> None:
    assert learnback_("keys", "secret").exit_code == 0
    key = learnback_("keys", "create", "shop", "--scope", "ingest", "--scope", "review").output.strip()
    keyring = Keyring(installation / ".learnback/keys.json", read_secret(installation / ".learnback/secret"))
    stored = keyring.check(key, "review")
    listing = learnback_("keys", "list").output
    assert "shop" in listing
    assert key not in listing
    assert learnback_("keys", "revoke", stored.id).exit_code == 0
    assert "shop" not in learnback_("keys", "list").output
    assert isinstance(learnback_("keys", "revoke", stored.id).exception, BadInputError)


def test_a_publishable_key_comes_with_its_token_secret(installation: Path) -> None:
    assert learnback_("keys", "secret").exit_code == 0
    origins = ["--origin", "https://shop.example", "--origin", "http://localhost:3000"]
    key, secret = learnback_("keys", "create", "shop", *origins).output.split()
    assert (key[:3], secret[:4]) == ("lb_", "lbs_")
    assert "https://shop.example" in learnback_("keys", "list").output
    keyring = Keyring(installation / ".learnback/keys.json", read_secret(installation / ".learnback/secret"))
    assert keyring.origins == {"https://shop.example", "http://localhost:3000"}
    assert learnback_("keys", "create", "shop", "--scope", "review", *origins).exit_code == 2
    wrong = learnback_("keys", "create", "shop", "--origin", "shop.example/")
    assert isinstance(wrong.exception, BadInputError)
    assert "An origin is" in str(wrong.exception)


def test_keys_need_the_secret_first() -> None:
    assert isinstance(learnback_("keys", "create", "shop").exception, ConfigError)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["keys", "list"], 1, "No secret at .learnback/secret. Make one with: learnback keys secret\n"),
        (
            ["models", "add", "Bad Name", "--task", "classification", "--base", "b", "--examples", "e"],
            1,
            "A model's name is",
        ),
        (["keys", "create"], 2, "Usage: learnback keys create"),
        (["digest", "--database", "learnback.db"], 1, "The database's address is no SQLAlchemy URL"),
    ],
)
def test_an_error_is_one_sentence_on_stderr(
    arguments: list[str], code: int, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["learnback", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert capsys.readouterr().err.startswith(sentence)


def test_a_mistyped_database_is_an_error_and_no_new_file(tmp_path: Path) -> None:
    told = learnback_("digest", "--database", f"sqlite:///{tmp_path / 'lernback.db'}").exception
    assert isinstance(told, BadInputError)
    assert "is its path right" in str(told)
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_is_its_content(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}/store")
    rows = [Row(text="wo ist mein Päckchen?", label="parcel"), Row(text="line\u2028break", label="refund")]
    dataset = store_dataset(store, rows)
    assert dataset.rows == 2
    assert store_dataset(store, rows) == dataset
    assert read_dataset(store, dataset) == rows
    (tmp_path / "store" / dataset.uri / "examples.jsonl").write_text("{}")
    with pytest.raises(ArtifactError, match="differs from its manifest"):
        read_dataset(store, dataset)


CANDIDATE = next(event for event in EXAMPLES if isinstance(event, CandidateTrained))
VERDICT = next(event for event in EXAMPLES if isinstance(event, VerdictReached))
STATE = next(event for event in EXAMPLES if isinstance(event, ModelStateChanged))
PROGRESS = next(event for event in EXAMPLES if isinstance(event, TrainingProgressed))


def test_a_model_is_born_when_the_version_of_its_request_serves() -> None:
    birth = Birth("r-1")
    assert birth.take(PROGRESS.model_copy(update={"request_id": "r-other"})) is None
    assert birth.take(PROGRESS) == PROGRESS
    assert birth.take(STATE.model_copy(update={"version": "v-other"})) is None
    assert birth.take(CANDIDATE) is None
    assert birth.take(STATE) == STATE


def test_news_may_come_in_any_order() -> None:
    birth = Birth("r-1")
    assert birth.take(STATE) is None
    assert birth.take(CANDIDATE) == STATE


def test_a_refused_version_ends_the_wait_with_the_reason() -> None:
    birth = Birth("r-1")
    birth.take(VERDICT.model_copy(update={"outcome": "reject", "reason": "weights are not finite"}))
    with pytest.raises(NotServedError, match="refused the model's first version: weights are not finite"):
        birth.take(CANDIDATE)
    with pytest.raises(NotServedError, match="The training failed: no memory"):
        Birth("r-1").take(PROGRESS.model_copy(update={"state": "failed", "detail": "no memory"}))


def test_progress_is_one_line() -> None:
    full = PROGRESS.model_copy(update={"examples_per_s": 81.6, "seconds_left": 12.2})
    assert describe(full) == "step 3/9, loss 0.500, 82 examples/s, 12 s left"
    assert describe(PROGRESS.model_copy(update={"state": "finished"})) == "finished"


def test_a_collector_that_is_away_is_named(installation: Path) -> None:
    from cli.collector import request_training
    from schemas.events import Dataset, ModelCard

    card = ModelCard(task="generation", base="b", examples=Dataset(uri="datasets/x", sha256="0" * 64, rows=1))
    with pytest.raises(UnavailableError, match=r"No collector answers at http://127\.0\.0\.1:1 \(ConnectError\)"):
        request_training("http://127.0.0.1:1", "key", "m", card)
