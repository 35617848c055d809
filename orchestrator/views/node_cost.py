"""What a cluster's nodes took, in a line."""

from __future__ import annotations

from auxtune.orchestrator.answer.cost import StudyCost


def node_lines(cost: StudyCost) -> list[str]:
    """Node hours by type and their price, or which types have none; no line off a cluster."""
    nodes = cost.nodes
    if nodes is None:
        return []
    hours = ", ".join(f"{kind} {node.hours:.3f}" for kind, node in nodes.items())
    unpriced = [kind for kind, node in nodes.items() if node.usd is None]
    if unpriced:
        return [f"Cluster: node hours {hours}; money unknown (prices.nodes lacks {', '.join(unpriced)})"]
    return [f"Cluster: node hours {hours}; {cost.cluster_usd:.2f} USD"]
