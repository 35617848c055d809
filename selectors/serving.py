"""Which networks to serve, when each task is served by the one that does best for it: exact, by a MILP.

Source: the selection of T. Standley, A. Zamir, D. Chen, L. Guibas, J. Malik, S. Savarese, "Which Tasks Should Be
Learned Together in Multi-task Learning?", ICML 2020, https://arxiv.org/abs/1905.07553, who search by branch and bound.
Here it is a facility location problem for SciPy's ``milp`` (HiGHS): ``open_g`` in {0, 1} for each network g,
``serve_gt`` in [0, 1] for each member t of g, ``serve_gt <= open_g``, every task served once, and the costs of what is
open, or their number, within the budget. With ``open`` whole the ``serve`` are whole by themselves.

Of equally good choices the one with fewer tasks trained wins. Milliseconds for 5 tasks, a second or so for a few
thousand networks. Do not use it for scores of different scales: it adds them up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

_MEMBER = 1e-7  # of the scores' range: what a further member must bring


def best_served(scores: np.ndarray, costs: Sequence[float], budget: float) -> list[int]:
    """The networks to open, in their order: those whose costs sum to at most ``budget`` and serve all tasks best.

    ``scores`` is (networks, tasks), higher is better, ``nan`` where a network cannot serve a task. For at most b models
    all ``costs`` are 1 and ``budget`` b. Raises ``ValueError`` where no choice within the budget serves every task.
    """
    networks, tasks = np.nonzero(np.isfinite(scores))
    count, pairs = scores.shape[0], len(networks)
    if not np.isfinite(scores).any(axis=0).all():
        raise ValueError("every task must be served by some network, but for one of them no score is known")
    # Of each task only what a network lacks of the best counts: tasks may be on scales far apart.
    known = (scores - np.nanmax(scores, axis=0))[networks, tasks]
    scaled = (known - known.min()) / (np.ptp(known) or 1.0) * 1e4  # HiGHS stops within 1e-6
    sizes = np.isfinite(scores).sum(axis=1)
    every = np.arange(pairs)
    served = csr_array((np.ones(pairs), (tasks, count + every)), shape=(scores.shape[1], count + pairs))
    signs, columns = np.repeat([1.0, -1.0], pairs), np.concatenate([count + every, networks])
    linked = csr_array((signs, (np.tile(every, 2), columns)), shape=(pairs, count + pairs))
    paid = csr_array(np.concatenate([np.asarray(costs, dtype=float), np.zeros(pairs)])[None])
    solved = milp(
        np.concatenate([_MEMBER * 1e4 * sizes, -scaled]),
        integrality=np.concatenate([np.ones(count), np.zeros(pairs)]),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(served, 1, 1),
            LinearConstraint(linked, -np.inf, 0),
            LinearConstraint(paid, -np.inf, budget + 1e-9),
        ],
        options={"mip_rel_gap": 0.0},
    )
    if solved.x is None:
        raise ValueError(f"a choice of networks within a budget of {budget:g} must serve all tasks, found none")
    opened: list[int] = np.flatnonzero(solved.x[:count] > 0.5).tolist()
    return _useful(scores, opened)


def _useful(scores: np.ndarray, opened: list[int]) -> list[int]:
    """Those that serve a task; of equals the first serves."""
    best = np.where(np.isfinite(scores[opened]), scores[opened], -np.inf).argmax(axis=0)
    return [opened[place] for place in sorted(set(best.tolist()))]
