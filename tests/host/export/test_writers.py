"""What a runtime writes without looking whether the disk took it is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeresnet.errors import MissingError
from edgeresnet.host.export.writers import _check_whole

XML = '<net><data offset="0" size="8"/><data element_type="f32" offset="8" size="4"/></net>\n'


@pytest.mark.parametrize(("text", "size"), [(XML[:-8], 12), ("", 12), (XML, 11), (XML, 0)])
def test_a_model_that_a_full_disk_cut_off_is_refused(tmp_path: Path, text: str, size: int) -> None:
    path = tmp_path / "model.xml"
    path.write_text(XML)
    path.with_suffix(".bin").write_bytes(bytes(12))
    _check_whole(path)
    path.write_text(text)
    path.with_suffix(".bin").write_bytes(bytes(size))
    with pytest.raises(MissingError, match="cannot be written whole"):
        _check_whole(path)
