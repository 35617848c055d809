"""Rules over more than one key of a study file.

Each rule reads the raw values and yields ``(key, message)``. Raw, so that a rule still applies where another key is
wrong: all mistakes of a file are shown at once. A rule ignores values of the wrong type; the models report those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from auxtune.orchestrator.study_file.models import (
    DEFAULT_SELECTOR,
    KeyPath,
    SelectorOptions,
    StageOptions,
    parse_selector,
)
from auxtune.orchestrator.study_file.unknown_keys import guess_key
from auxtune.selectors import registry

Raw: TypeAlias = Mapping[str, Any]
Finding: TypeAlias = tuple[KeyPath, str]

SOURCES = ("path", "files", "hub", "builtin")
HUB_ONLY = ("config", "revision")
_RAYS_OWN = ("cpu", "gpu", "memory", "object_store_memory")


def check_rules(data: Raw) -> Iterator[Finding]:
    """Every rule that ``data`` breaks."""
    for rule in RULES:
        yield from rule(data)


def _check_question(data: Raw) -> Iterator[Finding]:
    primary, objective = data.get("primary"), data.get("objective")
    if primary is None and objective is None:
        yield (), "expected `primary: TASK`, the task to win, or `objective: groups`; found neither"
    if primary is not None and objective is not None:
        yield ("objective",), "expected either `primary` or `objective`, found both; remove one"
    if objective is None and data.get("models") is not None:
        yield ("models",), "is for `objective: groups`; remove it"
    if objective == "groups" and data.get("models") is None:
        yield ("objective",), "needs `models: N`, the most models that may be served"


def _check_primary(data: Raw) -> Iterator[Finding]:
    primary, tasks = data.get("primary"), data.get("tasks")
    if isinstance(primary, str) and isinstance(tasks, Mapping) and primary not in tasks:
        yield ("primary",), f"expected one of the tasks ({', '.join(tasks)}), found {primary!r}"


def _check_sources(data: Raw) -> Iterator[Finding]:
    for name, task in _list_tasks(data):
        given = [key for key in SOURCES if task.get(key) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            yield ("tasks", name), f"expected exactly one of {', '.join(SOURCES)}, found {found}"
        for key in HUB_ONLY:
            if task.get(key) is not None and "hub" not in given:
                yield ("tasks", name, key), "is for tasks from the hub; remove it"


def _check_columns(data: Raw) -> Iterator[Finding]:
    for name, task in _list_tasks(data):
        words = [key for key in ("tokens", "tags") if task.get(key) is not None]
        sentences = [key for key in ("text", "label") if task.get(key)]
        if len(words) == 1:
            other = "tags" if words == ["tokens"] else "tokens"
            yield ("tasks", name, words[0]), f"needs `{other}`: words and their labels come together"
        if words and sentences:
            yield ("tasks", name, sentences[0]), "is for one label per row, and this task has one per word; remove it"


def _check_budget(data: Raw) -> Iterator[Finding]:
    budget = data.get("budget")
    if isinstance(budget, Mapping) and all(limit is None for limit in budget.values()):
        yield ("budget",), "expected at least one of trials, gpu_hours, usd, wall_hours; found none"


def _check_prices(data: Raw) -> Iterator[Finding]:
    budget, prices = data.get("budget"), data.get("prices")
    # The price of a node says nothing of the price of a trial on it.
    priced = isinstance(prices, Mapping) and any(prices.get(key) is not None for key in ("gpu_hour", "cpu_hour"))
    if isinstance(budget, Mapping) and budget.get("usd") is not None and not priced:
        yield ("budget", "usd"), "needs `prices`; add gpu_hour, cpu_hour or both"


def _check_gpus(data: Raw) -> Iterator[Finding]:
    resources = data.get("resources")
    for key in ("gpus", "probe_gpus"):
        gpus = resources.get(key) if isinstance(resources, Mapping) else None
        if isinstance(gpus, float) and gpus > 1 and not gpus.is_integer():
            yield ("resources", key), f"expected a part of one GPU or a whole number of GPUs, found {gpus:g}"


def _check_custom_resources(data: Raw) -> Iterator[Finding]:
    resources = data.get("resources")
    custom = resources.get("custom") if isinstance(resources, Mapping) else None
    for name in custom if isinstance(custom, Mapping) else ():
        if str(name).lower() in _RAYS_OWN:
            yield ("resources", "custom", name), f"expected another name: {name} is Ray's own, see `cpus` and `gpus`"


def _check_selector(data: Raw) -> Iterator[Finding]:
    chosen = _read_selector(data)
    if chosen is None:
        return
    if chosen.stages:
        for number, stage in enumerate(chosen.stages):
            yield from _check_method(stage, ("selector", number))
    else:
        yield from _check_method(chosen, ("selector",))


def _check_method(chosen: StageOptions, place: KeyPath) -> Iterator[Finding]:
    unknown = _find_refusal(chosen.name, {})
    single = {key: _find_refusal(chosen.name, {key: value}) for key, value in chosen.options.items()}
    wrong = {key: refusal for key, refusal in single.items() if refusal}
    if unknown:
        yield place, unknown
    elif wrong:
        for key, refusal in wrong.items():
            foreign = None if "did you mean" in refusal else guess_key(("selector", key), [])
            yield (*place, key), f"{refusal}; {foreign}" if foreign else refusal
    elif together := _find_refusal(chosen.name, chosen.options):
        yield place, together


def _check_objective(data: Raw) -> Iterator[Finding]:
    chosen = _read_selector(data)
    if chosen is None or data.get("objective") != "groups":
        return
    if chosen.stages:
        yield ("selector",), "stages narrow down the auxiliaries of a primary, and groups have none; name one selector"
        return
    try:
        wants = registry.make(chosen.name, chosen.options).wants()
    except (ValueError, ImportError):  # said by another rule
        return
    if "groups" not in wants.objectives:
        answered = ", ".join(method.name for method in registry.describe() if method.groups) or "none yet"
        yield ("selector",), f"{chosen.name} answers with {wants.answers}; groups are answered by: {answered}"


def _check_groups(data: Raw) -> Iterator[Finding]:
    """Refuse keys that only make sense with one task to win."""
    if data.get("objective") != "groups":
        return
    training, confirm = (part if isinstance(part := data.get(key), Mapping) else {} for key in ("training", "confirm"))
    refused = "is not for `objective: groups`: {}; remove it"
    if training.get("early_stopping") is not None:
        yield ("training", "early_stopping"), refused.format("groups cannot be ranked early")
    if training.get("epochs") is not None:
        yield ("training", "epochs"), "counts passes over the rows of a `primary`, and groups have none; give `steps`"
    if training.get("match") == "primary_examples":
        yield ("training", "match"), refused.format("there is no primary")
    if confirm.get("leave_one_out") is True:
        yield ("confirm", "leave_one_out"), refused.format("there is no primary whose auxiliaries could be left out")
    if isinstance(controls := confirm.get("controls"), list) and "equal_cost_random" in controls:
        yield ("confirm", "controls"), refused.format("equal_cost_random draws mixtures for a primary")
    if isinstance(seeds := data.get("search_seeds"), int) and seeds > 1:
        yield ("search_seeds",), refused.format("no one trial's score says which of several searches grouped best")


def _check_length(data: Raw) -> Iterator[Finding]:
    training = data.get("training")
    if isinstance(training, Mapping) and training.get("epochs") is not None and training.get("steps") is not None:
        yield ("training", "epochs"), "expected either `steps` or `epochs`, found both; remove one"


def _check_transfer(data: Raw) -> Iterator[Finding]:
    training = data.get("training")
    if not isinstance(training, Mapping) or training.get("schedule") != "transfer":
        return
    if data.get("objective") is not None:
        yield ("training", "schedule"), "transfer needs a `primary`, the task that is fine-tuned last; remove it"
    if training.get("early_stopping") is not None:
        message = "is not for `schedule: transfer`: trials come to the primary at different steps; remove it"
        yield ("training", "early_stopping"), message


def _check_earlier(data: Raw) -> Iterator[Finding]:
    entries = data.get("earlier")
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        if not isinstance(entry, Mapping):
            continue
        given = [key for key in ("table", "csv") if entry.get(key) is not None]
        if len(given) != 1:
            yield ("earlier", number), f"expected either `table` or `csv`, found {' and '.join(given) or 'neither'}"
        for key in ("target", "mode"):
            if given == ["table"] and key in entry:
                yield ("earlier", number, key), "is for the runs of a `csv`; remove it"


def _read_selector(data: Raw) -> SelectorOptions | None:
    try:
        return SelectorOptions.model_validate(parse_selector(data.get("selector", DEFAULT_SELECTOR)))
    except ValueError:
        return None


def _find_refusal(name: str, options: Raw) -> str | None:
    """Why the registry does not make this selector, or ``None`` if it does."""
    try:
        registry.make(name, options)
    except (ValueError, ImportError) as error:
        return str(error)
    return None


def _list_tasks(data: Raw) -> Iterator[tuple[str, Raw]]:
    tasks = data.get("tasks")
    if isinstance(tasks, Mapping):
        yield from ((name, task) for name, task in tasks.items() if isinstance(task, Mapping))


RULES: tuple[Callable[[Raw], Iterator[Finding]], ...] = (
    _check_question,
    _check_primary,
    _check_sources,
    _check_columns,
    _check_budget,
    _check_prices,
    _check_gpus,
    _check_custom_resources,
    _check_selector,
    _check_objective,
    _check_groups,
    _check_length,
    _check_earlier,
    _check_transfer,
)
