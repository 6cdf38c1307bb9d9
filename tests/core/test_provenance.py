"""Inputs are recorded by hash, and a stage notices when what it reads does not belong together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ag3d.core import provenance
from ag3d.core.errors import UserError
from ag3d.core.files import sha256, write_table
from ag3d.core.shards import write_shard


def shard(path, value, record):
    with write_shard(path, record) as writer:
        writer.add_image("a.png", np.full((4, 4, 3), value, np.uint8))
    return path


def test_names_tell_the_stage(tmp_path):
    """Files of all stages are called by their shard."""
    table = tmp_path / "people/00000.parquet"
    write_table(table, pd.DataFrame({"a": [1]}), {})
    mattes = shard(tmp_path / "mattes/00000.zip", 1, {})
    found = provenance.record("fitting", {}, [table, mattes])["inputs"]
    assert found == {"people/00000.parquet": sha256(table), "mattes/00000.zip": sha256(mattes)}


def test_files_that_do_not_belong_together(tmp_path):
    mattes = shard(tmp_path / "mattes/00000.zip", 1, {})
    fits = tmp_path / "fits/00000.parquet"
    write_table(fits, pd.DataFrame({"a": [1]}), provenance.record("fitting", {}, [mattes]))
    provenance.record("alignment", {}, [mattes, fits])
    data = bytearray(mattes.read_bytes())
    data[60] ^= 1
    mattes.write_bytes(data)
    with pytest.raises(UserError, match="fits/00000.parquet was made from another mattes/00000.zip"):
        provenance.record("alignment", {}, [mattes, fits])


def test_shards_carry_their_record_too(tmp_path):
    aligned = shard(tmp_path / "aligned/00000.zip", 1, {})
    normals = shard(tmp_path / "normals/00000.zip", 2, provenance.record("normals", {}, [aligned]))
    provenance.record("dataset", {}, [aligned, normals])
    shard(aligned, 9, {})
    with pytest.raises(UserError, match="another aligned/00000.zip"):
        provenance.record("dataset", {}, [aligned, normals])
