"""A study whose selector breaks its promises: it ends as failed, closed, with the selector named, can be resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_study import StudyRun

PLUG_IN = '''
from dataclasses import replace
from typing import ClassVar
import os, sys
import numpy as np
from auxtune.selectors.kit.options import options
from auxtune.selectors.methods.controls import RandomSubset

@options
class Evil(RandomSubset):
    """Breaks its promises while the environment says so."""

    paper: ClassVar[str | None] = None

    def propose(self, state, evidence):
        if os.environ.get("EVIL") == "exit":
            sys.exit(8)
        return super().propose(state, evidence)

    def select(self, state, evidence):
        belief = {"shares": np.arange(3)} if os.environ.get("EVIL") == "array" else {}
        return replace(super().select(state, evidence), belief=belief)
'''


@pytest.mark.slow
def test_a_study_whose_selector_breaks_is_closed_as_failed_and_continues_once_it_is_mended(
    small: StudyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "plug" / "evil-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[auxtune.selectors]\nevil = evil:Evil\n")
    (tmp_path / "plug" / "evil.py").write_text(PLUG_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "plug"))
    study = small.home / "study.yaml"
    study.write_text(study.read_text().replace("random_subset", "evil").replace("steps: 40", "steps: 4"))
    for fault, moment in (("exit", "proposal"), ("array", "answer")):
        monkeypatch.setenv("EVIL", fault)
        said = small.finish(code=2)
        assert "the selector evil broke when it was asked for " in said and moment in said
        assert "Traceback" not in said and not (small.folder / "selection.json").exists()
        closed = small.accounts.sessions[-1].closed
        assert closed is not None and closed.reason == "failed" and "the selector evil broke" in (closed.message or "")
    monkeypatch.delenv("EVIL")
    small.finish()
    assert [session.closed.reason for session in small.accounts.sessions if session.closed] == ["failed"] * 2 + ["done"]
