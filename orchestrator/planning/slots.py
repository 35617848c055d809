"""How much of the machines one trial gets, and how many trials fit at the same time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from auxtune.orchestrator.errors import ResourceError
from auxtune.orchestrator.study_file.models import ResourceOptions


@dataclass(frozen=True)
class Slots:
    """CPUs and GPUs of one trial, and the most trials at a time."""

    cpus: float
    gpus: float
    concurrent: int


def this_machine() -> dict[str, float]:
    """What an embedded Ray may hand out here: of the CPUs, those that affinity and cgroup leave to this process."""
    import joblib
    import torch

    return {"CPU": float(joblib.cpu_count()), "GPU": float(torch.cuda.device_count())}


def allot(options: ResourceOptions, have: Mapping[str, float]) -> Slots:
    """Divide ``have`` (Ray's resource names) among trials. Raises ``ResourceError`` where not even one trial fits."""
    cpus_there, gpus_there = have.get("CPU", 0.0), have.get("GPU", 0.0)
    gpus = (1.0 if gpus_there else 0.0) if options.gpus == "auto" else float(options.gpus)
    if gpus > gpus_there:
        raise ResourceError(
            f"resources.gpus: {gpus:g} per trial asked for, but there are {gpus_there:g} GPUs; "
            "`gpus: auto` takes one where there is one and none elsewhere"
        )
    if options.cpus > cpus_there:
        raise ResourceError(f"resources.cpus: {options.cpus:g} per trial asked for, but there are {cpus_there:g} CPUs")
    # Trials that share GPUs share whole ones: at 0.6 of a GPU, one fits on each.
    by_gpu = _times(gpus_there, gpus) if gpus >= 1 else gpus_there * _times(1.0, gpus) if gpus else float("inf")
    fit = int(min(_times(cpus_there, options.cpus), by_gpu))
    return Slots(options.cpus, gpus, fit if options.concurrent == "auto" else min(fit, options.concurrent))


def _times(there: float, each: float) -> int:
    """How often ``each`` fits: 0.2 goes five times into 1, though ``1 // 0.2`` is 4."""
    return int(round(there / each, 9))
