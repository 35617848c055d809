"""The built-in tasks are what they are said to be, and the recorded truth is true of them."""

from __future__ import annotations

import csv
import json
import statistics
from importlib.resources import files

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from auxtune.orchestrator.study_file.reading import read_study
from auxtune.trials import builtin
from auxtune.trials.builtin import BUILTIN, describe_builtin, generate_builtin_rows, hash_builtin
from auxtune.trials.data.sources import TaskSource
from auxtune.trials.data.tasks import load_tasks
from auxtune.trials.tokenizer import hash_word

TABLE = files("auxtune.examples") / "tables" / "builtin"


def values(file: str, key: str) -> dict[str, list[float]]:
    """Test accuracies by subset or share, in the order of the seeds."""
    found: dict[str, list[float]] = {}
    with (TABLE / file).open() as lines:
        for row in sorted(csv.DictReader(lines), key=lambda row: int(row["seed"])):
            if row["split"] == "test":
                found.setdefault(row[key], []).append(float(row["value"]))
    return found


@pytest.fixture(scope="module")
def means() -> dict[frozenset[str], float]:
    return {frozenset(name.split("+")): statistics.mean(each) for name, each in values("rows.csv", "tasks").items()}


def test_the_rows_are_always_the_same_and_of_the_kind_they_say() -> None:
    first = generate_builtin_rows("tint")["train"][:50]
    generate_builtin_rows.cache_clear()
    assert generate_builtin_rows("tint")["train"][:50] == first
    for name in BUILTIN:
        meta = describe_builtin(name)
        for row in generate_builtin_rows(name)["test"]:
            if meta["kind"] == "token":
                assert len(row["tokens"]) == len(row["tags"]) > 0
                assert set(row["tags"]) <= set(meta["labels"])
            else:
                assert (row["sentence2"] is not None) == meta["pair"]
                assert row["label"] in meta["labels"] if meta["labels"] else -1 <= row["label"] <= 1


def test_words_share_no_bucket_of_the_tiny_encoder() -> None:
    spoken = builtin.generate_language()
    words = (*spoken.content, *spoken.denials, *spoken.fillers)
    assert len({hash_word(word) for word in words}) == len(words) == 636


def test_a_denial_at_the_start_turns_a_sentence_round_and_one_inside_does_not() -> None:
    spoken = builtin.generate_language()
    light = {word: int(value) for word, value in zip(spoken.content, spoken.light, strict=True)}
    denied = 0
    for row in generate_builtin_rows("mood")["train"][:500]:
        words = row["sentence1"].split()
        balance = sum(light.get(word, 0) for word in words)
        denied += words[0] in spoken.denials
        assert row["label"] == ("light" if (balance > 0) != (words[0] in spoken.denials) else "dark")
    assert denied > 20


def test_the_table_is_whole_and_of_these_very_rows_and_this_recipe() -> None:
    table = json.loads((TABLE / "table.json").read_text())
    assert (table["format"], table["kind"], table["mode"], table["tasks"]) == (1, "groups", "max", list(BUILTIN))
    assert table["data"] == hash_builtin()
    quickstart = read_study(files("auxtune.examples") / "quickstart.yaml").options  # type: ignore[arg-type]
    assert table["training"] == quickstart.training.model_dump(mode="json")
    assert table["primary_rows"] == quickstart.tasks["mood"].rows
    recorded = values("rows.csv", "tasks")
    assert len(recorded) == 2 ** (len(BUILTIN) - 1)
    assert {len(each) for each in recorded.values()} == {3}
    assert {len(each) for each in values("harmful.csv", "share").values()} == {8}


def test_single_task_leaves_room_and_the_best_subset_fills_it(means: dict[frozenset[str], float]) -> None:
    single = means[frozenset(["mood"])]
    assert 0.60 <= single <= 0.75
    assert max(means.values()) >= single + 0.08


def test_two_help_some_do_not_matter_and_one_hurts(means: dict[frozenset[str], float]) -> None:
    def effect(task: str) -> float:
        """Mean over all subsets of the others of what adding ``task`` changes."""
        return statistics.mean(value - means[tasks - {task}] for tasks, value in means.items() if task in tasks)

    assert effect("tint") > 0.02
    assert effect("stars") > 0.02
    for task in ("river", "pace"):
        assert abs(effect(task)) < 0.03
    assert means[frozenset(["mood", "slang"])] < means[frozenset(["mood"])] - 0.02


def test_the_harmful_task_hurts_the_primary_at_every_share() -> None:
    by_share = values("harmful.csv", "share")
    alone = by_share.pop("slang 0.0")
    assert sorted(by_share) == ["slang 0.3", "slang 0.5", "slang 0.7", "slang 0.9"]
    for accuracies in by_share.values():
        paired = [accuracy - reference for accuracy, reference in zip(accuracies, alone, strict=True)]
        error = statistics.stdev(paired) / len(paired) ** 0.5
        assert statistics.mean(paired) + 1.96 * error < 0


def test_a_bag_of_words_does_not_solve_it(means: dict[frozenset[str], float]) -> None:
    task = load_tasks([TaskSource("mood", builtin="mood", rows=200)])["mood"]
    train, test = task.splits["train"], task.splits["test"]
    counts = CountVectorizer(token_pattern=r"\S+")
    model = LogisticRegression(max_iter=1000).fit(counts.fit_transform(train.first), train.labels)
    accuracy = model.score(counts.transform(test.first), test.labels)
    assert abs(accuracy - means[frozenset(["mood"])]) <= 0.03
    assert np.bincount(test.labels).min() > 800  # no class is a good guess
