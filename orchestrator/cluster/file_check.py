"""All findings of a cluster file, offline: Ray's own validation, and what it cannot see.

What nothing offline can see: whether images, regions, quotas and rights exist, SSH, and whether a node's driver fits
the CUDA of the installed torch. The live check sees the last two.
"""

from __future__ import annotations

from pathlib import Path

from auxtune.orchestrator.cluster.cluster_file import read_cluster_file
from auxtune.orchestrator.cluster.finding import Finding
from auxtune.orchestrator.cluster.node_rules import node_findings
from auxtune.orchestrator.cluster.placeholders import placeholder_findings
from auxtune.orchestrator.cluster.software_rules import software_findings
from auxtune.orchestrator.cluster.start_rules import start_findings


def check_file(path: Path) -> list[Finding]:
    """What is wrong with the cluster file at ``path``, errors first.

    Only what Ray says, where it refuses the file. Raises ``AuxtuneError`` for a file that cannot be read.
    """
    file = read_cluster_file(path)
    findings = list(file.findings)
    if not findings:
        if not file.is_written(("cluster_name",)):
            why = "It is then `default`, and so is everybody else's: Ray takes one cluster for the other."
            findings.append(Finding("name", str(path), "cluster_name is missing", why, "name the cluster"))
        for rules in (start_findings, software_findings, node_findings, placeholder_findings):
            findings += rules(file)
    return sorted(findings, key=lambda finding: finding.severity)
