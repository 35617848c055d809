"""Groups under a budget of models: the published tables, a search of everything, and what must hold of any table."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from published_affinity import CELEBA, CELEBA_COSINE, TASKONOMY

from auxtune.selectors.kit import cover as covers
from auxtune.selectors.kit.affinity import build_affinity
from auxtune.selectors.kit.cover import cover, cover_by_clusters
from auxtune.selectors.kit.grouping import (
    Group,
    Grouping,
    assign_to_best,
    cluster_by_linkage,
    cluster_spectrally,
    compute_worth,
)


def random_table(tasks, seed=0):
    values = np.random.default_rng(seed).normal(size=(tasks, tasks))
    return build_affinity([f"t{i}" for i in range(tasks)], values, "random", "nothing")


def groups_of(grouping):
    return {frozenset(group.tasks) for group in grouping.groups}


def sets(*groups):
    return {frozenset(group.split()) for group in groups}


def best_of_all(affinity, models, singletons):
    """The highest objective of any ``models`` groups or fewer, by trying them all."""
    tasks = len(affinity.tasks)
    least = 1 if singletons else 2
    groups = [g for size in range(least, tasks + 1) for g in itertools.combinations(range(tasks), size)]
    onto = np.full((len(groups), tasks), -np.inf)
    for row, group in enumerate(groups):
        onto[row, list(group)] = compute_worth(affinity.values, group)
    sofar = onto  # what each task has of one group, two … (sets of groups, tasks)
    for _ in range(models - 2):
        sofar = np.maximum(sofar[:, None], onto[None]).reshape(-1, tasks)
    last = onto if models > 1 else np.full((1, tasks), -np.inf)
    return max(np.maximum(sofar, row).mean(axis=1).max() for row in last)


@pytest.mark.parametrize(
    ("models", "score", "groups"),
    [
        (1, 0.129292, sets("segmentation depth normals keypoints edges")),
        (2, 0.321696, sets("keypoints edges", "segmentation depth normals")),
        (3, 0.348670, sets("keypoints edges", "segmentation depth", "depth normals")),
        (4, 0.348670, sets("keypoints edges", "segmentation depth", "depth normals")),
        (5, 0.348670, sets("keypoints edges", "segmentation depth", "depth normals")),
    ],
)
def test_the_published_table_of_taskonomy(models, score, groups):
    found = cover(TASKONOMY, models)
    assert found.score == pytest.approx(score, abs=1e-6)
    assert groups_of(found) == groups
    assert found.proven


@pytest.mark.parametrize(
    ("models", "score", "groups"),
    [
        (2, 2.520276, sets("segmentation", "segmentation depth normals keypoints edges")),
        (3, 3.978106, sets("segmentation", "depth", "normals keypoints edges")),
        (5, 5.419605, sets("segmentation", "depth", "normals", "keypoints", "edges")),
    ],
)
def test_with_affinities_of_training_rows_every_task_would_be_trained_alone(models, score, groups):
    found = cover(TASKONOMY, models, singletons=True)
    assert found.score == pytest.approx(score, abs=2e-6)
    assert groups_of(found) == groups


@pytest.mark.parametrize(
    ("models", "score", "groups"),
    [
        (1, -106.905452, sets(" ".join(CELEBA.tasks))),
        (2, -99.441819, sets("shadow no_beard", "black blond brown goatee moustache no_beard rosy hat")),
        (
            3,
            -92.438429,
            sets("shadow no_beard", "black brown", "black blond goatee moustache no_beard rosy hat"),
        ),
    ],
)
def test_the_published_table_of_celeba_has_groups_that_overlap(models, score, groups):
    found = cover(CELEBA, models)
    assert found.score == pytest.approx(score, abs=2e-6)
    assert groups_of(found) == groups


@pytest.mark.parametrize("singletons", [False, True])
@pytest.mark.parametrize(
    ("tasks", "models", "seeds"),
    [(2, 1, 4), (2, 2, 4), (3, 2, 4), (4, 3, 4), (5, 3, 4), (6, 3, 2), (7, 2, 4), (8, 2, 4), (8, 3, 1)],
)
def test_nothing_better_is_found_by_trying_all_groups(tasks, models, seeds, singletons):
    for seed in range(seeds):
        table = random_table(tasks, seed)
        found = cover(table, models, singletons)
        assert found.score == pytest.approx(best_of_all(table, models, singletons), abs=1e-9)
        assert len(found.groups) <= models
        check_grouping(found, table)


def test_the_published_cosines_are_grouped_as_well_as_any_groups_can():
    for models in (1, 2):
        assert cover(CELEBA_COSINE, models).score == pytest.approx(best_of_all(CELEBA_COSINE, models, False), abs=1e-9)


def check_grouping(grouping, affinity):
    """Each task is served by one group, and the score is what the groups are worth to those they serve."""
    assert sorted(task for group in grouping.groups for task in group.serves) == sorted(affinity.tasks)
    total = 0.0
    for group in grouping.groups:
        assert set(group.serves) <= set(group.tasks)
        onto = compute_worth(affinity.restrict_to(group.tasks).values, range(len(group.tasks)))
        total += sum(onto[group.tasks.index(task)] for task in group.serves)
    assert grouping.score == pytest.approx(total / len(affinity.tasks))


@pytest.mark.parametrize("singletons", [False, True])
def test_more_models_are_never_worse(singletons):
    for seed in range(3):
        scores = [cover(random_table(9, seed), models, singletons).score for models in range(1, 10)]
        assert all(more >= less - 1e-9 for less, more in itertools.pairwise(scores))
        assert scores[-1] > scores[0]


def test_the_order_of_the_tasks_changes_nothing():
    turned = CELEBA.restrict_to(CELEBA.tasks[4:] + CELEBA.tasks[:4][::-1])
    for models in (2, 3, 4):
        assert groups_of(cover(turned, models)) == groups_of(cover(CELEBA, models))


def test_a_constant_shifts_the_objective_and_keeps_the_groups():
    for table, models in ((TASKONOMY, 3), (CELEBA, 3), (random_table(8), 2)):
        shifted = build_affinity(table.tasks, table.values + 17.25, "tag", "shifted")
        assert cover(shifted, models).groups == cover(table, models).groups
        assert cover(shifted, models).score == pytest.approx(cover(table, models).score + 17.25)


@pytest.mark.parametrize("scale", [1e-12, 1e9])
def test_the_scale_of_the_affinities_does_not_matter(scale):
    scaled = build_affinity(CELEBA.tasks, CELEBA.values * scale, "tag", "scaled")
    assert cover(scaled, 3).groups == cover(CELEBA, 3).groups


def test_of_equal_groupings_the_one_with_fewer_and_smaller_groups_wins():
    same = build_affinity("abcd", np.full((4, 4), 0.1), "m", "x")
    assert cover(same, 3).groups == (Group(("a", "b", "c", "d"), ("a", "b", "c", "d")),)
    blocks = build_affinity("abcd", np.kron(np.eye(2), np.ones((2, 2))), "m", "x")
    assert groups_of(cover(blocks, 4)) == sets("a b", "c d")


@pytest.mark.parametrize("models", [2, 3, 5])
def test_generated_columns_come_to_the_same_as_all_of_them(models, monkeypatch):
    tables = [random_table(9, seed) for seed in range(3)]
    expected = [cover(table, models) for table in tables]
    monkeypatch.setattr(covers, "ALL_BLOCKS", 4)
    monkeypatch.setattr(covers, "_PRICED", 7)
    for table, all_columns in zip(tables, expected, strict=True):
        found = cover(table, models)
        assert found.proven
        assert found.score == pytest.approx(all_columns.score, abs=1e-9)


def test_where_too_many_columns_could_matter_nothing_is_claimed(monkeypatch):
    table = random_table(9, seed=1)
    best = cover(table, 2)
    monkeypatch.setattr(covers, "ALL_BLOCKS", 4)
    monkeypatch.setattr(covers, "_PRICED", 7)
    monkeypatch.setattr(covers, "MOST_COLUMNS", 0)
    found = cover(table, 2)
    assert not found.proven and found.score <= best.score + 1e-9
    check_grouping(found, table)


def test_thirteen_tasks_are_proven_too():
    table = random_table(13, seed=2)
    found = cover(table, 4)
    assert found.proven and len(found.groups) <= 4
    assert found.score >= cover_by_clusters(table, 4).score
    check_grouping(found, table)


def test_one_task_is_a_group_by_itself_and_its_worth_is_unknown_unless_measured():
    unknown = build_affinity("a", np.array([[np.nan]]), "m", "x")
    assert cover(unknown, 2) == Grouping((Group(("a",), ("a",)),), None, True)
    assert cover(build_affinity("a", np.array([[0.3]]), "m", "x"), 2, singletons=True).score == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("tasks", "models", "unknown", "singletons", "message"),
    [
        (21, 3, None, False, "at most 20 tasks, got 21; cluster them"),
        (4, 0, None, False, "models must be at least 1, got 0"),
        (4, 2, (0, 1), False, "groups need every affinity"),
        (4, 2, (0, 0), True, "groups need every affinity"),
    ],
)
def test_what_cannot_be_covered_is_refused(tasks, models, unknown, singletons, message):
    values = np.ones((tasks, tasks))
    if unknown is not None:
        values[unknown] = np.nan
    with pytest.raises(ValueError, match=message):
        cover(build_affinity([f"t{i}" for i in range(tasks)], values, "m", "x"), models, singletons)


def in_blocks(sizes, noise, seed=0):
    """Tasks in blocks that help each other, interleaved in their order."""
    labels = np.random.default_rng(seed).permutation(np.repeat(range(len(sizes)), sizes))
    values = (labels[:, None] == labels).astype(float)
    values += noise * np.random.default_rng(seed + 1).normal(size=values.shape)
    names = [f"t{i}" for i in range(len(labels))]
    members = {frozenset(n for n, own in zip(names, labels, strict=True) if own == label) for label in set(labels)}
    return build_affinity(names, values, "blocks", "made"), members


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_both_ways_to_cluster_find_the_blocks(noise):
    table, blocks = in_blocks((9, 8, 7), noise)
    assert {frozenset(cluster) for cluster in cluster_spectrally(table, 3)} == blocks
    assert {frozenset(cluster) for cluster in cluster_by_linkage(table, 2.0, 3)} == blocks


def test_beyond_twenty_tasks_each_cluster_is_served_by_its_best_group():
    table, blocks = in_blocks((9, 8, 7), noise=0.2)
    found = cover_by_clusters(table, 3)
    assert {frozenset(group.serves) for group in found.groups} == blocks
    assert not found.proven
    check_grouping(found, table)


def test_a_cluster_of_one_is_served_by_a_group_with_its_best_helper():
    table = random_table(24)
    found = cover_by_clusters(table, 24)
    best = np.where(np.eye(24, dtype=bool), -np.inf, table.values).max(axis=1)
    assert found.score == pytest.approx(best.mean())
    check_grouping(found, table)


def test_in_a_cluster_every_pair_reaches_the_threshold():
    table = random_table(15, seed=3).average_directions()
    clusters = cluster_by_linkage(table, 0.2)
    assert sorted(task for cluster in clusters for task in cluster) == sorted(table.tasks)
    assert max(len(cluster) for cluster in clusters) > 1
    for cluster in clusters:
        assert all(table.read_row(one)[other] >= 0.2 for one, other in itertools.permutations(cluster, 2))


def test_where_clusters_are_too_many_the_nearest_are_joined():
    values = np.array([[0, 3, 1, 1], [3, 0, 1, 1], [1, 1, 0, 2], [1, 1, 2, 0]], dtype=float)
    table = build_affinity("abcd", values, "m", "x")
    assert cluster_by_linkage(table, 2.0) == (("a", "b"), ("c", "d"))
    assert cluster_by_linkage(table, 2.5) == (("a", "b"), ("c",), ("d",))
    assert cluster_by_linkage(table, 2.5, most=2) == (("a", "b"), ("c", "d"))
    assert cluster_by_linkage(table, 2.5, most=3) == (("a", "b"), ("c",), ("d",))


def test_more_clusters_than_tasks_leave_each_alone_and_unknown_affinities_are_refused():
    table = random_table(3)
    assert cluster_spectrally(table, 3) == (("t0",), ("t1",), ("t2",))
    unknown = build_affinity("ab", np.array([[0, np.nan], [1, 0]]), "m", "x")
    for cluster in (lambda: cluster_spectrally(unknown, 1), lambda: cluster_by_linkage(unknown, 0.0)):
        with pytest.raises(ValueError, match="clusters need every affinity"):
            cluster()


def test_each_task_is_served_by_the_group_that_is_worth_most_to_it():
    found = assign_to_best(TASKONOMY, [(0, 1), (1, 2), (3, 4), (0, 1, 2, 3, 4)], proven=False)
    assert {group.serves for group in found.groups} == {("segmentation", "depth"), ("normals",), ("keypoints", "edges")}
