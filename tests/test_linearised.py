"""Fits in gradients: exact where the model is linear, near real retraining where it is not, and soon done."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from probe_subjects import EVERY_KIND, recipe_of, subject_of
from scipy.optimize import minimize
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, Ridge
from torch.nn import functional

from auxtune.selectors.kit.linearised import Linearised, build_linearised, fit_move
from auxtune.trials.model import MultiTaskModel, RegressionHead
from auxtune.trials.probes.output_gradients import draw_rows, measure_output_gradients
from auxtune.trials.probes.probe import Subject

pytestmark = pytest.mark.arithmetic

WIDTH = 12


def linear_world(projection=None, rows=60, seed=0):
    """Two classifications and a regression that share linear weights θ, at some θ* all trained to; arrays and truth."""
    rng = np.random.default_rng(seed)
    theta, arrays, raw = rng.normal(size=WIDTH), {}, {}
    for part in ("train", "probe"):
        features, labels, margins, gradients = [], [], [], []
        for kind, own in (("c", 0.2), ("c", 1.0), ("r", 0.5)):
            x = rng.normal(size=(rows, WIDTH))
            said = x @ (theta + own * rng.normal(size=WIDTH))
            y = np.where(said + rng.normal(size=rows) > 0, 1.0, -1.0) if kind == "c" else said
            margins.append(y * (x @ theta) if kind == "c" else y - x @ theta)
            gradients.append(y[:, None] * x if kind == "c" else -x)
            features.append(x)
            labels.append(y)
        projected = np.concatenate(gradients) @ (np.eye(WIDTH) if projection is None else projection)
        arrays |= {
            f"{part}_gradients": projected,
            f"{part}_margins": np.concatenate(margins),
            f"{part}_task": np.repeat([0, 1, 2], rows),
        }
        raw[part] = (features, labels)
    kinds = np.array(["classification", "classification", "regression"])
    return {"tasks": np.array(list("abc")), "kinds": kinds, **arrays}, raw, theta


def retrained(raw, theta, chosen, penalty):
    """Losses of all tasks on probe after training θ itself, from θ* on, with the same penalty on how far it moves."""

    def losses(at, part):
        found = []
        for place, (x, y) in enumerate(zip(*raw[part], strict=True)):
            said = x @ at
            found.append(np.logaddexp(0, -y * said).mean() if place < 2 else np.square(y - said).mean())
        return np.array(found)

    def objective(at):
        return losses(at, "train")[list(chosen)].mean() + penalty / 2 * np.sum((at - theta) ** 2)

    # From far away: only the optimum can agree.
    best = minimize(objective, np.zeros(WIDTH), method="BFGS", options={"gtol": 1e-10})
    return losses(best.x, "probe")


@pytest.mark.parametrize("chosen", [(0,), (2,), (0, 1), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("regularisation", [1e-3, 0.1, 1.0])
def test_on_a_linear_model_with_a_square_orthogonal_projection_the_estimate_is_exact_retraining(chosen, regularisation):
    projection, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(WIDTH, WIDTH)))
    arrays, raw, theta = linear_world(projection)
    model = build_linearised(arrays, regularisation)
    found = model.estimate_losses({"abc"[place]: 1.0 for place in chosen})
    np.testing.assert_allclose(found, retrained(raw, theta, chosen, model.penalty), atol=1e-6)
    assert not np.allclose(found, model.average_losses(np.zeros(WIDTH)), atol=1e-4)


def test_a_fit_is_the_regression_that_scikit_learn_fits():
    arrays, raw, _ = linear_world()
    model = build_linearised({**arrays, "train_margins": np.zeros(180), "probe_margins": np.zeros(180)}, 0.1)
    [x, *_], [y, *_] = raw["train"]
    # Without offsets, margins y x · w: scikit-learn sums losses where we take means.
    known = LogisticRegression(C=1 / (60 * model.penalty), fit_intercept=False, tol=1e-10).fit(x, y)
    np.testing.assert_allclose(fit_move(model.train, np.array([1.0, 0, 0]), model.penalty), known.coef_[0], atol=1e-5)
    arrays, raw, theta = linear_world()
    model = build_linearised(arrays, 0.1)
    x, y = raw["train"][0][2], raw["train"][1][2]
    ridge = Ridge(alpha=60 * model.penalty / 2, fit_intercept=False).fit(x, y - x @ theta)
    np.testing.assert_allclose(fit_move(model.train, np.array([0, 0, 1.0]), model.penalty), ridge.coef_, atol=1e-8)


def test_tasks_count_by_their_shares_and_not_by_their_rows():
    arrays, _, _ = linear_world()
    kept = np.flatnonzero((arrays["train_task"] != 1) | (np.arange(180) % 3 == 0))
    fewer = {name: array[kept] if name.startswith("train") else array for name, array in arrays.items()}
    # A third of b's rows, each three times: the same mean.
    thrice = np.sort(np.concatenate([kept, *[kept[fewer["train_task"] == 1]] * 2]))
    more = {name: array[thrice] if name.startswith("train") else array for name, array in arrays.items()}
    shares = {"a": 0.3, "b": 0.7}
    few, many = build_linearised(fewer, 0.1), build_linearised(more, 0.1)
    np.testing.assert_allclose(few.penalty, many.penalty)
    np.testing.assert_allclose(few.estimate_losses(shares), many.estimate_losses(shares), atol=1e-9)
    np.testing.assert_allclose(few.estimate_losses({"a": 3.0, "b": 7.0}), few.estimate_losses(shares), atol=1e-12)
    assert few.estimate_losses({"a": 1.0, "b": 0.0}).tolist() == few.estimate_losses({"a": 1.0}).tolist()
    assert not np.allclose(few.estimate_losses({"a": 0.7, "b": 0.3}), few.estimate_losses(shares), atol=1e-4)
    with pytest.raises(ValueError, match="a fit needs a task with a share above 0"):
        few.estimate_losses({"a": 0.0})


def test_the_scale_of_gradients_is_the_encoders_and_changes_nothing():
    arrays, _, _ = linear_world()
    scaled = {name: 1000 * array if name.endswith("gradients") else array for name, array in arrays.items()}
    one, other = build_linearised(arrays, 0.1), build_linearised(scaled, 0.1)
    np.testing.assert_allclose(
        one.estimate_losses({"a": 1, "c": 1}), other.estimate_losses({"a": 1, "c": 1}), rtol=1e-8
    )


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e6])
@pytest.mark.parametrize("regularisation", [1e-9, 1e6])
def test_hard_numbers_end_in_a_finite_fit_that_is_no_worse_than_none(size, regularisation):
    rng = np.random.default_rng(3)
    arrays, _, _ = linear_world()
    for part in ("train", "probe"):  # classes that can be separated, margins that are far off
        arrays[f"{part}_gradients"] = size * np.abs(rng.normal(size=(180, WIDTH)))
        arrays[f"{part}_margins"] = 50 * rng.normal(size=180)
    model = build_linearised(arrays, regularisation)
    w = fit_move(model.train, np.array([0.5, 0.5, 0.0]), model.penalty)
    assert np.isfinite(w).all()
    used = model.train.keep(model.train.task < 2)
    assert used.compute_losses(w).mean() <= used.compute_losses(np.zeros(WIDTH)).mean() + 1e-9


def test_gradients_that_are_all_zero_move_nothing():
    arrays, _, _ = linear_world()
    flat = {name: 0 * array if name.endswith("gradients") else array for name, array in arrays.items()}
    model = build_linearised(flat, 0.1)
    assert model.estimate_losses({"a": 1.0}).tolist() == model.average_losses(np.zeros(WIDTH)).tolist()


def test_halves_share_no_row_and_hold_all():
    model: Linearised = build_linearised(linear_world(rows=7)[0], 0.1)
    one, other = model.split_halves()
    assert np.bincount(one.train.task).tolist() == [4, 4, 4] and np.bincount(other.probe.task).tolist() == [3, 3, 3]
    both = np.concatenate([one.train.margins, other.train.margins])
    assert sorted(both.tolist()) == sorted(model.train.margins.tolist())


# Near real training


def real_losses(subject: Subject, model: MultiTaskModel, part: str, places, rows: int) -> torch.Tensor:
    """The mean loss of tasks on the drawn rows, as training computes it, in float32."""
    found = []
    for place in places:
        task = list(subject.tasks.values())[place]
        drawn = draw_rows(task, part, rows, subject.recipe.seed)
        outputs = model(task.name, subject.collate(task, part, drawn.rows))
        labels, head = torch.from_numpy(drawn.label), model.head(task.name)
        own = torch.arange(len(outputs)), torch.from_numpy(drawn.place)
        if isinstance(head, RegressionHead):
            found.append(head.loss(outputs, labels) / len(outputs))
        elif task.kind == "multi_label":
            found.append(functional.binary_cross_entropy_with_logits(outputs[own], labels.float()))
        else:
            found.append(functional.cross_entropy(outputs[own] if task.kind == "token" else outputs, labels))
    return torch.stack(found)


def test_estimates_rank_subsets_as_real_retraining_does() -> None:
    names, rows, rate, steps = tuple(EVERY_KIND), 64, 0.05, 8
    subject = subject_of(recipe_of(names, steps=60, batch_size=16, learning_rate=2e-3), steps=60)
    arrays = measure_output_gradients(subject, {"rows": rows})
    everyone = range(len(names))
    subsets = [subset for size in (1, 2) for subset in itertools.combinations(everyone, size)]
    estimated, real = np.empty((2, len(subsets), len(names)))
    model = build_linearised(arrays, 0.1)
    with torch.no_grad():
        start = real_losses(subject, subject.model, "probe", everyone, rows).numpy()
    np.testing.assert_allclose(model.average_losses(np.zeros(200)), start, rtol=1e-4)
    for row, subset in enumerate(subsets):
        trained = copy.deepcopy(subject.model)
        shared = list(trained.encoder.parameters())
        for _ in range(steps):
            loss = real_losses(subject, trained, "train", subset, rows).mean()
            for parameter, gradient in zip(
                shared, torch.autograd.grad(loss, shared, materialize_grads=True), strict=True
            ):
                parameter.data -= rate * gradient
        with torch.no_grad():
            real[row] = real_losses(subject, trained, "probe", everyone, rows).numpy()
        estimated[row] = model.estimate_losses({names[place]: 1.0 for place in subset})
    # By task: losses of different tasks are not to be told apart, but what each subset does to them.
    assert np.mean([spearmanr(estimated[:, i], real[:, i]).statistic for i in everyone]) > 0.6
    standard = [((table - table.mean(0)) / table.std(0)).ravel() for table in (estimated, real)]
    assert spearmanr(*standard).statistic > 0.6
