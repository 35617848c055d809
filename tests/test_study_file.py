"""A study file is understood, or all that is wrong with it is said at once, each with its line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from study_text import BASE, mistakes, study

from auxtune.orchestrator.errors import StudyFileError
from auxtune.orchestrator.study_file.keys import build_study_schema, describe_expected, find_key, write_key_table
from auxtune.orchestrator.study_file.models import KeyPath
from auxtune.orchestrator.study_file.reading import expand_variables, read_study, read_tree


def test_omitted_keys_have_their_defaults() -> None:
    options = study().options
    assert (options.training.steps, options.training.learning_rate, options.training.cycle) == (600, 5e-5, None)
    assert (options.resources.gpus, options.resources.retries, options.confirm.seeds) == ("auto", 3, 4)
    assert options.selector.name == "random_subset" and options.selector.options == {}
    unnamed = study(BASE.replace("selector: random_subset\n", "")).options.selector
    assert (unnamed.name, unnamed.options, unnamed.stages) == ("auto", {}, ())


def test_six_mistakes_give_six_messages_with_lines() -> None:
    text = """\
study: my/reviews
primary: imdb
tasks:
  cr: {path: "${NO_SUCH_VARIABLE}/cr"}
training:
  batchsize: 32
  precision: float16
selector: random_subset
budget: {usd: 5}
"""
    with pytest.raises(StudyFileError) as caught:
        study(text)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["study.yaml:1", "study"],
        ["study.yaml:2", "primary"],
        ["study.yaml:4", "tasks.cr.path"],
        ["study.yaml:6", "training.batchsize"],
        ["study.yaml:7", "training.precision"],
        ["study.yaml:9", "budget.usd"],
    ]
    said = ["'my/reviews'", "'imdb'", "NO_SUCH_VARIABLE", "`batch_size`", "`float32` or `bfloat16`", "`prices`"]
    assert all(word in line for word, line in zip(said, lines, strict=True))


def leaves(node: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key of the schema that holds no further keys, with ``cr`` for a task's name."""
    keys = {key: (*path, key) for key in node.get("properties", ())}
    for inside in keys.values():
        choices = find_key(inside)[1].get("anyOf", [find_key(inside)[1]])
        reference = next((choice["$ref"] for choice in choices if "$ref" in choice), None)
        if inside == ("tasks",):
            yield from leaves(build_study_schema()["$defs"]["TaskOptions"], ("tasks", "cr"))
        elif reference:
            yield from leaves(build_study_schema()["$defs"][reference.rpartition("/")[2]], inside)
        else:
            yield inside


DEBRIS = ["", "\n", "{", "]", ": ", "'", "${", "&a ", "*a", "\t", "- ", "é", "\0", "!!int ", "? ", "<<: "]
LEAVES = list(leaves(build_study_schema()))
MAPPINGS = (("resources", "custom"), ("prices", "nodes"))  # the leaves that hold names of the user's own


def with_value(path: KeyPath, value: Any) -> str:
    """The base study with one key set, one key or item per line."""
    data = yaml.safe_load(BASE)
    inside = data
    for step in path[:-1]:
        inside = inside.setdefault(step, {})
    inside[path[-1]] = value
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=False)


@pytest.mark.parametrize("gpus", [0.5, 1, 2])
def test_a_trial_gets_a_part_of_one_gpu_or_whole_ones(gpus: float) -> None:
    assert study(with_value(("resources", "gpus"), gpus)).options.resources.gpus == gpus


@pytest.mark.parametrize("key", ["gpus", "probe_gpus"])
def test_one_and_a_half_gpus_are_refused(key: str) -> None:
    (mistake,) = mistakes(with_value(("resources", key), 1.5))
    assert (mistake.key, mistake.message) == (
        f"resources.{key}",
        "expected a part of one GPU or a whole number of GPUs, found 1.5",
    )


def test_custom_resources_are_amounts_under_names_of_their_own() -> None:
    """Ray names some resources with a colon; its own are asked for under other keys."""
    accepted = study(with_value(("resources", "custom"), {"accelerator_type:T4": 0.01, "spot": 1}))
    assert accepted.options.resources.custom == {"accelerator_type:T4": 0.01, "spot": 1}
    for wrong, said in (({"spot": 0}, "expected a number > 0, found 0"), ({"GPU": 1}, "GPU is Ray's own")):
        (mistake,) = mistakes(with_value(("resources", "custom"), wrong))
        assert said in mistake.message and mistake.key == f"resources.custom.{next(iter(wrong))}"


def test_what_nodes_cost_is_no_price_of_a_trial() -> None:
    text = with_value(("prices",), {"nodes": {"gpu_spot": 0.45, "head": 0}})
    assert study(text).options.prices.nodes == {"gpu_spot": 0.45, "head": 0.0}
    (mistake,) = mistakes(text.replace("budget:", "budget:\n  usd: 1.0"))
    assert (mistake.key, mistake.message) == ("budget.usd", "needs `prices`; add gpu_hour, cpu_hour or both")
    (mistake,) = mistakes(with_value(("prices",), {"nodes": {"gpu_spot": -1}}))
    assert mistake.key == "prices.nodes.gpu_spot" and "expected a number ≥ 0" in mistake.message


def line_of(text: str, word: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if word in line)


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_a_value_of_the_wrong_type_is_told_at_its_line(path: KeyPath) -> None:
    wrong = "[wrong type]" if path in MAPPINGS else "{wrong: [type]}"
    text = with_value(path, "@value@").replace("'@value@'", wrong)
    here = [mistake for mistake in mistakes(text) if mistake.key == ".".join(map(str, path))]
    assert [mistake.place for mistake in here] == [line_of(text, wrong)]
    assert "expected" in here[0].message


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_a_misspelt_key_is_told_at_its_line_with_the_closest(path: KeyPath) -> None:
    misspelt = (*path[:-1], f"{path[-1]}x")
    text = with_value(misspelt, "value")
    here = [mistake for mistake in mistakes(text) if mistake.key == ".".join(misspelt)]
    assert [mistake.place for mistake in here] == [line_of(text, f"{misspelt[-1]}:")]
    assert "did you mean" in here[0].message


def test_every_key_is_in_the_table_and_says_what_it_means() -> None:
    assert len(LEAVES) > 50
    for path in LEAVES:
        name = ".".join(path).replace("tasks.cr.", "tasks.NAME.")
        assert f"| `{name}` | {describe_expected(find_key(path)[1])} |" in write_key_table()
        assert len(find_key(path)[1]["description"]) > 5


@pytest.mark.parametrize(
    ("change", "key", "said"),
    [
        (("primary: cr\n", ""), "", "primary"),
        (("primary: cr", "primary: cr\nobjective: groups\nmodels: 2"), "objective", "both"),
        (("primary: cr", "objective: groups\nmodels: 2"), "selector", "groups are answered by"),
        (("{path: cr}", "{}"), "tasks.cr", "found none"),
        (("{path: cr}", "{path: cr, hub: a/b}"), "tasks.cr", "path and hub"),
        (("{path: cr}", "{path: cr, revision: main}"), "tasks.cr.revision", "hub"),
        (("{path: cr}", "{path: cr, tokens: words}"), "tasks.cr.tokens", "`tags`"),
        (("{path: cr}", "{path: cr, tokens: a, tags: b, label: c}"), "tasks.cr.label", "one per word"),
        (("{path: cr}", "{path: cr, text: [a, b, c]}"), "tasks.cr.text", "at most 2"),
        (("{path: cr}", "{path: cr, label: [a]}"), "tasks.cr.label", "at least 2: text or null, found a list of 1"),
        (("{path: cr}", "{path: cr, label: {a: b}}"), "tasks.cr.label", "found a mapping"),
        (("  cr:", "  a+b:"), "tasks.a+b", "letters, digits"),
        (("study: reviews", "study: .hidden"), "study", "'.hidden'"),
        (("study: reviews", f"study: {'a' * 101}"), "study", "at most 100"),
        (("{trials: 30}", "{}"), "budget", "at least one"),
        (("{trials: 30}", "{trials: 0}"), "budget.trials", "≥ 1"),
        (("{trials: 30}", "{wall_hours: .inf}"), "budget.wall_hours", "> 0"),
        (("random_subset", "random"), "selector", "random_subset"),
        (("random_subset", "{name: random_subset, many: 3}"), "selector.many", "many"),
        (("random_subset", "[thompson, [random_subset]]"), "selector", "a list of such stages"),
        (("random_subset", "[thompson, {name: gp_mixing, sample: 3}]"), "selector.1.sample", "did you mean samples"),
        (("random_subset", "[thompson, gp_mixin]"), "selector.1", "did you mean gp_mixing"),
        (("random_subset", "{rounds: 3}"), "selector", "name"),
        (("budget:", "storage: ftp://host/studies\nbudget:"), "storage", "s3://BUCKET/FOLDER"),
        (("budget:", "storage: s3://bucket/../studies\nbudget:"), "storage", "gs://BUCKET/FOLDER"),
        (("budget:", "storage: 's3://me:secret@bucket/studies'\nbudget:"), "storage", "password"),
        (("budget:", "tracking: {uri: ./mlruns}\nbudget:"), "tracking.uri", "sqlite:///"),
        (("budget:", "tracking: {uri: 'http://me:secret@host'}\nbudget:"), "tracking.uri", "password"),
        (("budget:", "tracking: {uri: 'http://me:${P:-secret}@host'}\nbudget:"), "tracking.uri", "password"),
        (("budget:", "tracking: {children: best few}\nbudget:"), "tracking.children", "best N"),
        (("budget:", "training: {sampling: size^x}\nbudget:"), "training.sampling", "size^α"),
        (("budget:", "seed: 99999999999999999999\nbudget:"), "seed", "whole number"),
        (("budget:", "confirm: {controls: [nothing]}\nbudget:"), "confirm.controls.0", "`single_task`"),
    ],
)
def test_what_cannot_be_is_refused(change: tuple[str, str], key: str, said: str) -> None:
    text = BASE.replace(*change)
    assert text != BASE
    assert any(mistake.key == key and said in mistake.message for mistake in mistakes(text))


def test_every_wrong_option_of_a_selector_has_its_line() -> None:
    text = BASE.replace("selector: random_subset", "selector:\n  name: thompson\n  rounds: -1\n  gama: 0.3")
    assert [(mistake.place, mistake.key) for mistake in mistakes(text)] == [
        (8, "selector.rounds"),
        (9, "selector.gama"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("study: [a", 1, "not YAML"),
        ("study: [a\n", 2, "not YAML"),
        ("study: a\n  b: c\n", 2, "not YAML"),
        ("study: {a: ${B}}\n", 1, "needs quotes"),
        ("", 1, "found null"),
        ("- a\n- b\n", 1, "a list of 2"),
        ("study: a\n---\nstudy: b\n", 2, "not YAML"),
        ("&a [*a]", 1, "nested too deeply"),
        ("study: !!python/object/apply:os.getcwd []", 1, "tags"),
        ("[a]: b", 1, "plain key"),
    ],
)
def test_what_is_no_study_at_all_is_told_in_one_line(text: str, line: int, said: str) -> None:
    first = mistakes(text)[0]
    assert first.place == line and said in first.message


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_text_there_is_a_study_or_a_list_of_mistakes(seed: int) -> None:
    random = Random(seed)
    for _ in range(10):
        text = BASE
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(text))
            cut = random.choice([0, 1, 5])
            text = text[:at] + random.choice(DEBRIS) + text[at + cut :]
        try:
            study(text)
        except StudyFileError as error:
            assert error.mistakes and all(isinstance(mistake.place, int) for mistake in error.mistakes)


def test_a_key_given_twice_is_a_mistake_where_it_comes_again() -> None:
    [mistake] = mistakes(BASE + "seed: 1\nseed: 2\n")
    assert (mistake.place, mistake.key) == (9, "seed") and "first on line 8" in mistake.message


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("no", "no"),
        ("true", True),
        ("~", None),
        ("010", 10),
        ("5e-5", 5e-5),
        ("1.", 1.0),
        ("1:30", "1:30"),
        ("'3'", "3"),
        ("2024-01-01", "2024-01-01"),
        ("${N:-3}", 3),
        ("'${N:-3}'", "3"),
        ("${N:-}", None),
        ("-.inf", float("-inf")),
        ("9" * 5000, float("inf")),
        ("<<", "<<"),
    ],
)
def test_plain_values_follow_yaml_1_2(scalar: str, value: object) -> None:
    assert read_tree(f"on: {scalar}").data == {"on": value}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${A}/x", "1/x"),
        ("${A}${B:-2}", "12"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY}", ""),
        ("$${A}", "${A}"),
        ("$A $5", "$A $5"),
        ("${B:-a b}", "a b"),
        ("${B:-}", ""),
    ],
)
def test_variables_expand_as_in_a_shell(text: str, expanded: str) -> None:
    assert expand_variables(text, {"A": "1", "EMPTY": ""}) == expanded


@pytest.mark.parametrize("text", ["${B}", "${", "${1}", "${A", "${A-b}"])
def test_what_cannot_be_expanded_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\$\{"):
        expand_variables(text, {"A": "1"})


def test_the_text_is_kept_unexpanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPS", "7")
    text = BASE + "training:\n  steps: ${STEPS}\n"
    assert study(text).options.training.steps == 7 and study(text).text == text


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(StudyFileError, match="cannot be read"):
            read_study(path)
    (tmp_path / "latin.yaml").write_bytes(b"study: caf\xe9\n")
    with pytest.raises(StudyFileError, match="not UTF-8"):
        read_study(tmp_path / "latin.yaml")


def test_a_study_read_from_a_file_knows_its_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "study.yaml").write_text(BASE)
    monkeypatch.chdir(tmp_path)
    read = read_study(Path("inner/study.yaml"))
    assert (read.folder, read.working_folder, read.text) == (tmp_path / "inner", tmp_path, BASE)


def test_the_schema_is_plain_json() -> None:
    assert json.loads(json.dumps(build_study_schema()))["additionalProperties"] is False
