"""What the documents say is what the code is: the annotated tree, the links, the policy's table."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cli.documents import OPERATIONS, README, ROOT, between, policy_table
from shared.policy import Policy

INDENT = 2


def tree() -> dict[str, str]:
    """The paths of the README's annotated tree and what it says of each."""
    block = README.read_text("utf-8").split("## The tree")[1].split("```")[1]
    paths, parents = {}, [""]
    for line in block.strip("\n").splitlines():
        name, _, said = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip())) // INDENT
        parents[depth + 1 :] = [parents[depth] + name]
        paths[parents[depth] + name] = said.strip()
    return paths


def tracked() -> set[str]:
    """Every file of the project, as git knows them, new ones too."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.splitlines() if (ROOT / name).exists()}


def test_the_tree_in_the_readme_is_the_tree() -> None:
    said, files = tree(), tracked()
    assert all(said.values()), "a line of the tree says nothing"
    for path in said:
        assert any(name == path or (path.endswith("/") and name.startswith(path)) for name in files), path
    for folder in {f"{name.split('/')[0]}/" for name in files if "/" in name and not name.startswith(".")}:
        assert folder in said, f"{folder} is not in the README's tree"
    for service in {name.split("/")[1] for name in files if name.count("/") > 1 and name.startswith("services/")}:
        assert f"services/{service}/" in said


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", "docs/operations.md", "docs/scale.md", "client/README.md"]
)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text("utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{document} links to {target}"


def test_operations_lists_the_policy() -> None:
    text = OPERATIONS.read_text("utf-8")
    assert between("policy", policy_table(), text) == text, "run: make schemas"
    settings = sum(len(type(section.default).model_fields) for section in Policy.model_fields.values())
    assert policy_table().count("\n") == settings + 2


def test_a_document_that_lost_its_markers_is_told() -> None:
    with pytest.raises(ValueError, match="lost its markers"):
        between("topics", "", "nothing here")


def test_decisions_are_one_page_and_numbered() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [path.name[:4] for path in decisions]
    assert all(number.isdigit() for number in numbers)
    assert len(set(numbers)) == len(numbers), "two decisions have one number"
    assert all(len(Path(path).read_text("utf-8").splitlines()) <= 60 for path in decisions)
