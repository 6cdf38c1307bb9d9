"""How Parquet tables are damaged."""

from __future__ import annotations

import functools
import io
import json
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.mutators import TEXTS, changed_tree, in_bytes

_KINDS = [
    pa.string(),
    pa.int64(),
    pa.float64(),
    pa.bool_(),
    pa.list_(pa.float64()),
    pa.null(),
    pa.binary(),
    pa.timestamp("ns"),
]


@functools.lru_cache(maxsize=64)
def _table(data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data), use_threads=False)


def in_table(random: Random, data: bytes) -> bytes:
    """A column dropped, renamed, of another type, or with odd values; no rows; another record."""
    table = _table(data)
    place, kind = random.randrange(table.num_columns), random.randrange(8)
    name, metadata = table.column_names[place], dict(table.schema.metadata or {})
    if kind == 0:
        table = table.remove_column(place)
    elif kind == 1:
        table = table.rename_columns(
            [random.choice(TEXTS) if column == name else column for column in table.column_names]
        )
    elif kind == 2:
        values = pa.array([None] * table.num_rows, random.choice(_KINDS))
        table = table.set_column(place, name, values)
    elif kind == 3:
        table = table.set_column(place, name, _odd(random, table.num_rows))
    elif kind == 4:
        table = table.slice(0, random.choice((0, 1)))
    elif kind == 5:
        table = pa.concat_tables([table] * random.choice((2, 5)))
    elif kind == 6:
        table = table.append_column(name, table.column(place))
    else:
        record = json.loads(metadata.get(b"ag3d", b"{}"))
        changed = json.dumps(changed_tree(random, record)).encode()
        metadata[b"ag3d"] = in_bytes(random, changed) if random.random() < 0.2 else changed
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), out, write_page_checksum=random.random() < 0.5)
    return out.getvalue()


def _odd(random: Random, rows: int) -> pa.Array:
    choices: list[list[Any]] = [
        [1, -1, 2**62],
        [0.5, float("nan"), 1e308],
        TEXTS,
        [True, False],
        [[], [1.0], [float("inf")] * 3],
        [b"\xff", b""],
    ]
    values = random.choice(choices)
    texts = (value.encode(errors="replace").decode() if isinstance(value, str) else value for value in values)
    known = list(texts)
    return pa.array([random.choice([*known, None]) for _ in range(rows)])
