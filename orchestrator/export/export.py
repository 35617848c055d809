"""``auxtune export``: train a study's selection or one of its controls, and save models that others can load.

An export stands outside its study: it writes nothing into the ledger, no budget pays for it, and ``selection.json``
stays as it is, because the study's cost is that of its answer. The card states what this training took instead. No
trial keeps the weights of confirm, so the arm is trained again, in this process and without Ray, by the same recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.build import average_test_scores
from auxtune.orchestrator.errors import DriftError
from auxtune.orchestrator.export.card import CardData, write_card
from auxtune.orchestrator.export.exporter import ModelExporter, StagingFolder, check_free
from auxtune.orchestrator.export.model_spec import ModelSpec, model_specs, read_confirmed_answer
from auxtune.orchestrator.planning.arms import SELECTION
from auxtune.orchestrator.planning.confirm import Confirmation
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.planning.slots import allot, describe_this_machine
from auxtune.orchestrator.record.accounts import Accounts, read_accounts
from auxtune.orchestrator.record.driver import StopSignals
from auxtune.orchestrator.session.prepare import encode_study_data, load_study_data
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.study_file.paths import locate_study
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.trials.result import Result

_INDIFFERENT = {"auxtune", "selector", "earlier"}  # how the answer was found does not change what it trains


@dataclass(frozen=True)
class Exported:
    """The result of an export: the folder, and for each model in it the facts about it, as JSON values.

    ``arm`` is what was trained, ``recommended`` the arm that the study found to be best.
    """

    folder: StoredPath
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
    folder, home = locate_study(study), to.absolute()
    check_free(home)  # before anything is read, which may take a while
    accounts = read_accounts(folder)
    answer = read_confirmed_answer(folder, accounts)
    with StopSignals() as signals:
        exporter, drift = _prepare_exporter(study, accounts, allow_drift, tell)
        confirmation = exporter.context.confirmation
        chosen = study.options.seed if seed is None else seed
        specs = model_specs(folder, answer, accounts, confirmation, chosen, group, arm)
        export = _Export(exporter, drift, arm, answer, _find_measured(answer, accounts, confirmation, arm), signals)
        with StagingFolder(home) as staging:
            models = tuple(export.make(spec, staging) for spec in specs)
            staging.publish()
    return Exported(home, study.options.study, models, arm, answer.recommendation.arm)


def _find_measured(
    answer: Answer, accounts: Accounts, confirmation: Confirmation, arm: str
) -> Mapping[str, Mapping[str, float]]:
    """The study's scores of the arm on the test split: task -> metric -> mean over seeds."""
    if arm == SELECTION or accounts.selected is None:
        return answer.report
    return average_test_scores(accounts, confirmation.arms(accounts.selected.selection)[arm], answer.main_metrics)


def _prepare_exporter(
    study: StudyFile, accounts: Accounts, allow_drift: bool, tell: Callable[[str], None]
) -> tuple[ModelExporter, tuple[str, ...]]:
    """The study's data and encoder, and the keys in which they are no longer what the study was of."""
    folder = locate_study(study)
    tell(f"reading the data of {folder}")
    slots = allot(study.options.resources, describe_this_machine())
    read, base = load_study_data(study)
    context = StudyContext.from_data(study, read, base, accounts)
    drift = tuple(key for key in context.drift if key not in _INDIFFERENT)
    if drift and not allow_drift:
        raise DriftError(
            f"{folder}: these differ from what the study was of: {', '.join(drift)}. Its scores say nothing of them; "
            "bring back what was there, or export it anyway with --allow-drift"
        )
    return ModelExporter(context, read, encode_study_data(study, read), base, slots, tell), drift


@dataclass(frozen=True)
class _Export:
    """The inputs that the models of one export share."""

    exporter: ModelExporter
    drift: tuple[str, ...]
    arm: str
    answer: Answer
    measured: Mapping[str, Mapping[str, float]]
    signals: StopSignals

    def make(self, spec: ModelSpec, staging: StagingFolder) -> Mapping[str, Any]:
        """One model, in its folder of ``staging`` with its card; what is known of it, as JSON values."""
        exporter, proposal = self.exporter, spec.proposal
        exporter.tell(f"training {' + '.join(proposal.tasks)}, seed {proposal.seed}")
        scratch, home = staging.run(spec.name), staging.model(spec.name)
        run, result = exporter.train(spec, scratch, self.signals)
        recipe, about = exporter.recipe(spec), self._describe(spec, result)
        saved = run.save_model(home, {name: exporter.read[name].text for name in proposal.tasks}, about)
        largest = exporter.check(home, result, recipe)
        exporter.tell(f"saved, loaded again and scored: the scores differ by {largest:.2g} at the most")
        final = staging.home / spec.name if spec.name else staging.home
        study = exporter.context.study
        data = CardData(study, self.answer, saved, exporter.read, recipe, final.name, largest, self.measured)
        (home / "README.md").write_text(write_card(data), encoding="utf-8")
        return {"folder": str(final), "tasks": list(proposal.tasks), **about, "largest_difference": largest}

    def _describe(self, spec: ModelSpec, result: Result) -> dict[str, Any]:
        """The request in ``spec``, the result of its training, and the data it used."""
        exporter, proposal = self.exporter, spec.proposal
        return {
            "study": exporter.context.options.study,
            "arm": self.arm,
            "serves": list(spec.serves),
            "weights": dict(exporter.recipe(spec).shares),
            "weighting": proposal.weighting,
            "rows": {name: {"rows": kept.rows, "kept": kept.kept} for name, kept in proposal.rows.items()},
            "seed": proposal.seed,
            "steps": result.steps,
            "best_step": result.best_step,
            "validation": result.validation,
            "test": result.test,
            "cost": {**asdict(result.cost), "usd": exporter.context.price.usd(result.cost)},
            "digests": {name: exporter.read[name].digest for name in proposal.tasks},
            "encoder": exporter.base.digest,
            "drift": list(self.drift),
            "auxtune": version("auxtune"),
        }
