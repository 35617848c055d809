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


HELPFUL, HARMFUL = ("tint", "stars", "rival"), ("river", "pace", "slang")
BEST = frozenset(["mood", *HELPFUL])


def values(file: str, *keys: str) -> dict[str, list[float]]:
    """Test accuracies by what was trained, in the order of the seeds."""
    found: dict[str, list[float]] = {}
    with (TABLE / file).open() as lines:
        for row in sorted(csv.DictReader(lines), key=lambda row: int(row["seed"])):
            if row["split"] == "test":
                found.setdefault(" ".join(row[key] for key in keys), []).append(float(row["value"]))
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
    assert denied > 10


def test_each_helping_task_speaks_of_one_field_and_what_hurts_agrees_on_common_words_alone() -> None:
    spoken = builtin.generate_language()
    place = {word: i for i, word in enumerate(spoken.content)}
    for name, field in (("tint", 0), ("stars", 1), ("rival", 2), ("slang", 3)):
        fields = set()
        for row in generate_builtin_rows(name)["train"]:
            said = row.get("tokens") or f"{row['sentence1']} {row['sentence2'] or ''}".split()
            fields |= {place[word] % builtin.FIELDS for word in said if place.get(word, 0) >= builtin.COMMON}
        assert fields == {field}
    common, rare = slice(builtin.COMMON), slice(builtin.COMMON, None)
    for other, astray in ((spoken.wet, 0.6), (spoken.quick, 0.6), (spoken.slang, 1.0)):
        assert (other[common] == spoken.light[common]).all()
        assert (other[rare] != spoken.light[rare]).mean() == astray
    assert (spoken.wet != spoken.quick).any()


def test_the_table_is_whole_and_of_these_very_rows_and_this_recipe() -> None:
    table = json.loads((TABLE / "table.json").read_text())
    assert (table["format"], table["kind"], table["mode"], table["tasks"]) == (1, "groups", "max", list(BUILTIN))
    assert table["data"] == hash_builtin()
    quickstart = read_study(files("auxtune.examples") / "quickstart.yaml").options  # type: ignore[arg-type]
    assert table["training"] == quickstart.training.model_dump(mode="json")
    assert table["primary_rows"] == quickstart.tasks["mood"].rows
    recorded = values("rows.csv", "tasks")
    assert len(recorded) == 2 ** (len(BUILTIN) - 1)
    assert {len(each) for each in recorded.values()} == {5}
    assert {len(each) for each in values("harmful.csv", "beside", "harmful", "share").values()} == {8}


def test_single_task_leaves_room_and_the_best_subset_fills_it(means: dict[frozenset[str], float]) -> None:
    single = means[frozenset(["mood"])]
    assert 0.60 <= single <= 0.75
    assert max(means.values()) >= single + 0.1


def lead(ahead: list[float], behind: list[float]) -> tuple[float, float]:
    """The mean of paired differences and its standard error."""
    paired = [one - other for one, other in zip(ahead, behind, strict=True)]
    return statistics.mean(paired), statistics.stdev(paired) / len(paired) ** 0.5


def test_the_best_subset_holds_what_helps_and_nothing_else_by_several_standard_errors() -> None:
    recorded = {frozenset(name.split("+")): each for name, each in values("rows.csv", "tasks").items()}
    for tasks, each in recorded.items():
        if tasks != BEST:
            mean, error = lead(recorded[BEST], each)
            assert mean > 0.03, tasks
            assert mean > 4 * error, tasks


def test_slang_hurts_wherever_it_is_and_the_others_that_hurt_do_so_beside_what_helps() -> None:
    recorded = values("harmful.csv", "beside", "harmful", "share")
    for beside, share, hurting in (("mood", "0.6", ["slang"]), ("mood+tint+stars+rival", "0.1", HARMFUL)):
        without = recorded[f"{beside}  0.0"]
        for task in hurting:
            mean, error = lead(without, recorded[f"{beside} {task} {share}"])
            assert mean > max(0.01, 1.96 * error), (beside, task)


def test_what_a_task_does_on_average_over_all_subsets_has_its_sign(means: dict[frozenset[str], float]) -> None:
    def effect(task: str) -> float:
        return statistics.mean(value - means[tasks - {task}] for tasks, value in means.items() if task in tasks)

    assert min(effect(task) for task in HELPFUL) > 0.015
    assert max(effect(task) for task in HARMFUL) < 0
    assert effect("slang") < -0.01


def test_a_bag_of_words_does_not_solve_it(means: dict[frozenset[str], float]) -> None:
    task = load_tasks([TaskSource("mood", builtin="mood", rows=200)])["mood"]
    train, test = task.splits["train"], task.splits["test"]
    counts = CountVectorizer(token_pattern=r"\S+")
    model = LogisticRegression(max_iter=1000).fit(counts.fit_transform(train.first), train.labels)
    accuracy = model.score(counts.transform(test.first), test.labels)
    assert abs(accuracy - means[frozenset(["mood"])]) <= 0.03
    assert np.bincount(test.labels).min() > 800  # no class is a good guess
