"""A reader follows every other page of the documentation to its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import FIRST_PAGES, IN_A_CLONE, PAGES, STUDY_PAGES, Reader, blocks

pytestmark = pytest.mark.slow

TOGETHER = {*STUDY_PAGES, *FIRST_PAGES, IN_A_CLONE}
OTHER_PAGES = [page for page in PAGES if page not in TOGETHER and any(block.runs for block in blocks(page))]


@pytest.mark.parametrize("page", OTHER_PAGES, ids=lambda page: page.name)
def test_a_page_can_be_followed(page: Path, tmp_path: Path) -> None:
    Reader(tmp_path).follow(page)
