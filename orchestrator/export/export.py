"""``auxtune export``: train a study's selection or one of its controls, and save models that others can load.

An export stands outside its study: it writes nothing into the ledger, no budget pays for it, and ``selection.json``
stays as it is, for the study's cost is that of its answer. What training took is said in the card instead. The weights
of confirm's trials are not used, for no trial keeps them: the arm is trained anew, in this process and without
Ray, by the same recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.build import mean_test_scores
from auxtune.orchestrator.errors import DriftError, StudyDataError
from auxtune.orchestrator.export.card import CardData, card
from auxtune.orchestrator.export.draft import Draft, check_free
from auxtune.orchestrator.export.making import Workshop
from auxtune.orchestrator.export.wanted import Wanted, confirmed_answer, wanted_models
from auxtune.orchestrator.planning.arms import SELECTION
from auxtune.orchestrator.planning.budget import price_of
from auxtune.orchestrator.planning.confirm import Confirmation, confirmation_of
from auxtune.orchestrator.planning.machines import this_machine
from auxtune.orchestrator.planning.plan_size import problem_of
from auxtune.orchestrator.planning.slots import allot
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.record.accounts import Accounts, read_accounts
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.session.data import ENCODER, load_study_data
from auxtune.orchestrator.session.opening import drift_of
from auxtune.orchestrator.session.prepare import fingerprint_of
from auxtune.orchestrator.session.signals import StopSignals
from auxtune.orchestrator.study_file.paths import model_options, study_folder, tokens_folder
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.trials.problems import DataError
from auxtune.trials.tokens import encode_tasks

_INDIFFERENT = {"auxtune", "selector", "earlier"}  # how the answer was found does not change what it trains


@dataclass(frozen=True)
class Exported:
    """What an export made: the folder, and for each model in it what is known of it, as JSON values.

    ``arm`` is what was trained, ``recommended`` the arm that the study found to be best.
    """

    folder: Path
    study: str
    models: tuple[Mapping[str, Any], ...]
    arm: str
    recommended: str


def export_study(
    study: StudyFile,
    to: Path,
    seed: int | None = None,
    group: int | None = None,
    allow_drift: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    arm: str = SELECTION,
) -> Exported:
    """Train an arm of a finished study and save it as the folder ``to``; of groups a folder in it for each.

    The ``arm`` is the selection or one of its controls. ``seed`` is the study's own unless given; ``group``, counted
    from 1, asks for one group alone. ``tell`` hears of progress. Raises ``AuxtuneError`` where the study is not
    finished, has no such arm or ``to`` is taken, ``StudyDataError`` where its data is gone, ``DriftError`` where that
    has changed, ``Interrupted``, and ``Locked``.
    """
    folder, home = study_folder(study), to.absolute()
    check_free(home)  # before anything is read, which may take a while
    accounts = read_accounts(folder)
    answer = confirmed_answer(folder, accounts)
    with StopSignals() as signals:
        workshop, drift = _workshop(study, folder, allow_drift, tell)
        options, problem = study.options, workshop.translator.problem
        confirmation = confirmation_of(options.confirm, problem, workshop.translator.execute).recalling(accounts)
        chosen = options.seed if seed is None else seed
        wanted = wanted_models(folder, answer, accounts, confirmation, chosen, group, arm)
        measured = _measured(answer, accounts, confirmation, arm)
        with Draft(home) as draft:
            models = tuple(
                _made(study, workshop, each, draft, answer, drift, signals, arm, measured) for each in wanted
            )
            draft.publish()
    return Exported(home, options.study, models, arm, answer.recommendation.arm)


def _measured(
    answer: Answer, accounts: Accounts, confirmation: Confirmation, arm: str
) -> Mapping[str, Mapping[str, float]]:
    """What the study measured of the arm on the test split: task -> metric -> mean over seeds."""
    if arm == SELECTION or accounts.selected is None:
        return answer.report
    return mean_test_scores(accounts, confirmation.arms(accounts.selected.selection)[arm], answer.main_metrics)


def _workshop(
    study: StudyFile, folder: Path, allow_drift: bool, tell: Callable[[str], None]
) -> tuple[Workshop, tuple[str, ...]]:
    """The study's data and encoder, and the keys in which they are no longer what the study was of."""
    tell(f"reading the data of {folder}")
    slots = allot(study.options.resources, this_machine())
    read, base = load_study_data(study)
    now = fingerprint_of(study, read, base)
    drift = tuple(key for key in drift_of(read_events(folder / "ledger"), now) if key not in _INDIFFERENT)
    if drift and not allow_drift:
        raise DriftError(
            f"{folder}: these differ from what the study was of: {', '.join(drift)}. Its scores say nothing of them; "
            "bring back what was there, or export all the same with --allow-drift"
        )
    model = model_options(study)
    try:
        tasks = encode_tasks(read, model, tokens_folder(study))
    except DataError as error:
        raise StudyDataError(study.told({ENCODER: error.messages})) from error
    translator = Translator(study.options, model, problem_of(study, read))
    return Workshop(folder, translator, read, tasks, base, slots, tell), drift


def _made(
    study: StudyFile,
    workshop: Workshop,
    wanted: Wanted,
    draft: Draft,
    answer: Answer,
    drift: tuple[str, ...],
    signals: StopSignals,
    arm: str,
    measured: Mapping[str, Mapping[str, float]],
) -> Mapping[str, Any]:
    """One model, in its folder of the draft with its card."""
    proposal, tell = wanted.proposal, workshop.tell
    tell(f"training {' + '.join(proposal.tasks)}, seed {proposal.seed}")
    scratch, home = draft.run(wanted.name), draft.model(wanted.name)
    run, result = workshop.train(wanted, scratch, signals)
    recipe = workshop.recipe(wanted)
    about = {
        "study": study.options.study,
        "arm": arm,
        "serves": list(wanted.serves),
        "weights": dict(recipe.shares),
        "weighting": proposal.weighting,
        "rows": {name: {"rows": kept.rows, "kept": kept.kept} for name, kept in proposal.rows.items()},
        "seed": proposal.seed,
        "steps": result.steps,
        "best_step": result.best_step,
        "validation": result.validation,
        "test": result.test,
        "cost": {**asdict(result.cost), "usd": price_of(study.options).usd(result.cost)},
        "digests": {name: workshop.read[name].digest for name in proposal.tasks},
        "encoder": workshop.base.digest,
        "drift": list(drift),
        "auxtune": version("auxtune"),
    }
    saved = run.save_model(home, {name: workshop.read[name].text for name in proposal.tasks}, about)
    largest = workshop.check(home, result, recipe)
    tell(f"saved, loaded again and scored: the scores differ by {largest:.2g} at the most")
    final = draft.home / wanted.name if wanted.name else draft.home
    made = CardData(study, answer, saved, workshop.read, recipe, final.name, largest, measured)
    (home / "README.md").write_text(card(made), encoding="utf-8")
    return {"folder": str(final), "tasks": list(proposal.tasks), **about, "largest_difference": largest}
