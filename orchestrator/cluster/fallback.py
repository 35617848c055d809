"""Which type of node the autoscaler starts: one that the cloud has just refused comes last.

The autoscaler behind ``ray up`` notes for half an hour which type could not be had, and hands that to the function that
rates the types; Ray's own function does not look at it, and so asks for the same spot instances again and again. This
one rates a refused type below all others and leaves everything else to Ray's. It is named by the environment variable
``RAY_AUTOSCALER_UTILIZATION_SCORER`` where the head's Ray is started. Tried on Ray's own scheduler, never on a cloud.
"""

from __future__ import annotations

from typing import Any

from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer


def available_first(
    node_resources: dict[str, Any],
    resources: list[dict[str, Any]],
    node_type: str,
    *,
    node_availability_summary: Any,
) -> tuple[bool, Any] | None:
    """How well the node type suits the demands, greater is better; ``None`` where it suits none of them.

    With ``node_availability_summary`` Ray says which types could not be had lately.
    """
    score = _default_utilization_scorer(
        node_resources, resources, node_type, node_availability_summary=node_availability_summary
    )
    if score is None:
        return None
    record = node_availability_summary.node_availabilities.get(node_type)
    return record is None or record.is_available, score
