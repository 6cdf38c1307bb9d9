"""Make tables from measurements: comparison.csv, .md, .tex (booktabs), .html and .json (for the report).

A row is a run at a milestone. Values of different protocols never share a column: each protocol has a table of its own.
A file of measurements that does not exist gives a row that says so. Published values (--published) stand in tables of
their own, marked as quoted, with their source; speed and memory (--speed) in one for each kind of device.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ag3d.core import console
from ag3d.core.errors import UserError
from ag3d.evaluation.tables.comparison import comparison
from ag3d.evaluation.tables.formats import write_tables
from ag3d.evaluation.tables.measurements import read_measurements
from ag3d.evaluation.tables.published import read_published
from ag3d.evaluation.tables.speed import read_speed

log = logging.getLogger(__name__)


def main() -> None:
    parser = console.parser("ag3d.evaluation.tables", __doc__)
    parser.add_argument("--metrics", type=Path, nargs="+", default=[], help="JSON files of ag3d.evaluation.metrics")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--name", default="comparison", help="name of the files (default: comparison)")
    parser.add_argument(
        "--published", type=Path, help="YAML file of published values, as evaluation/tables/published.yaml"
    )
    parser.add_argument("--data-set", default="", help="only values published on this data set (default: all)")
    parser.add_argument("--speed", type=Path, nargs="+", default=[], help="JSON files of benchmarks/network.py")
    args = parser.parse_args()
    tables = comparison(read_measurements(args.metrics))
    if args.published:
        tables += read_published(args.published, args.data_set)
    tables += read_speed(args.speed)
    if not tables:
        raise UserError("there is nothing to make a table of: give --metrics, --published or --speed")
    write_tables(tables, args.output / args.name)
    log.info("%d rows in %s", sum(len(table.rows) for table in tables), args.output)
