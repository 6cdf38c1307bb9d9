"""Readers of configurations, measurements, tables, and of what the report shows."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz import arrays, pictures, seeds, seeds_model
from tests.fuzz import mutators as m
from tests.fuzz.runner import PICTURE_MEMORY, Target
from tests.fuzz.tables import in_table


def _configuration(path: Path) -> object:
    from ag3d.config import load
    from ag3d.config.settings import read_yaml

    return load(read_yaml(path))


def _part_of_configuration(path: Path) -> object:
    from ag3d.config import read

    return read([path])


def _variants(path: Path) -> object:
    from ag3d.config.ablations import read_variants, variant

    return [variant({}, changes, 1) for changes in read_variants(path.parent).values()]


def _measurements(path: Path) -> object:
    from ag3d.evaluation.tables.comparison import comparison
    from ag3d.evaluation.tables.formats import FORMATS
    from ag3d.evaluation.tables.measurements import read_measurements

    made = comparison(read_measurements([path]))
    return [render(made) for render in FORMATS.values()]


def _published(path: Path) -> object:
    from ag3d.evaluation.tables.formats import FORMATS
    from ag3d.evaluation.tables.published import read_published

    made = read_published(path, "deepfashion-512")
    return [render(made) for render in FORMATS.values()]


def _speed(path: Path) -> object:
    from ag3d.evaluation.tables.speed import read_speed

    return read_speed([path])


def _tables_json(path: Path) -> object:
    from ag3d.evaluation.tables.formats import read_tables

    return [[made.cells(row) for row in made.rows] for made in read_tables(path)]


def _features(path: Path) -> object:
    from ag3d.evaluation.metrics.feature_cache import read_features

    return read_features(path)


def _inception(path: Path) -> object:
    from ag3d.evaluation.metrics.inception_file import read_tensors

    return read_tensors(path)


def _report(path: Path) -> object:
    from ag3d.evaluation.report.__main__ import build, render

    home = next(folder for folder in path.parents if (folder / "run").is_dir())
    return render(build(home / "data", home / "run", seeds_model.tiny_body(), {}, partial=True))


def _beside_report(folder: Path) -> None:
    files = {
        "training/000001/checkpoint.json": seeds_model.checkpoint_json()[0],
        "metrics/000001.json": seeds.measurements()[0],
    }
    files |= {"tables/comparison.json": seeds.comparison_json()[0], "avatars/samples.png": seeds.image("PNG")}
    for name, content in files.items():
        (folder / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "run" / name).write_bytes(content)
    (folder / "data").mkdir(exist_ok=True)


def _truth(path: Path) -> object:
    from ag3d.evaluation.report.preprocessing import read_accuracy
    from ag3d.evaluation.results_reader import DatasetResults

    return read_accuracy(DatasetResults(path.parent))


def _times(path: Path) -> object:
    from ag3d.evaluation.report.timing import rule_times

    return rule_times([path.parents[1]])


def _picture_of_report(path: Path) -> object:
    from ag3d.evaluation.report.media import picture_file

    return picture_file(path, 100, lossless_below=0)


def _results(path: Path) -> object:
    from ag3d.evaluation.results_reader import DatasetResults

    results = DatasetResults(path.parents[1])
    return results.table("alignment"), results.labels()


def _rejected(path: Path) -> object:
    from ag3d.evaluation.results_reader import DatasetResults

    return DatasetResults(path.parent).rejected()


JSON, YAML, TABLE = (m.in_json, m.in_json, m.in_bytes), (m.in_yaml, m.in_yaml, m.in_bytes), (in_table, m.in_bytes)
NPZ, NPY = (arrays.in_npz, m.in_bytes), (arrays.in_npy, m.in_bytes)
RUN = "run/training/000001"
TARGETS = [
    Target("config.yaml", "config.yaml", _configuration, seeds.configurations, YAML, cost=20),
    Target("config.json", "config.json", _part_of_configuration, seeds.configuration_json, JSON),
    Target("variants", "noise.yaml", _variants, seeds.variants, YAML, cost=4),
    Target("metrics.json", "demo/metrics/1.json", _measurements, seeds.measurements, JSON, cost=2),
    Target("published.yaml", "published.yaml", _published, seeds.published, YAML, cost=4),
    Target("speed.json", "speed.json", _speed, seeds.speed, JSON),
    Target("tables.json", "tables.json", _tables_json, seeds.comparison_json, JSON),
    Target("features.npz", "features.npz", _features, seeds.features, NPZ),
    Target("inception", "inception-2015-12-05.pt", _inception, seeds_model.inception, pictures.IN_DATASET),
    Target("truth.json", "truth.json", _truth, seeds.truth, JSON),
    Target("times.tsv", "benchmarks/photos/0.tsv", _times, seeds.times, (m.in_lines, m.in_bytes), cost=2),
    Target("results", "alignment/00000.parquet", _results, seeds.people_table, TABLE, cost=4),
    Target("rejected", "rejected.parquet", _rejected, seeds.rejected_table, TABLE, cost=2),
    Target("report.png", "a.png", _picture_of_report, seeds.pngs, (pictures.in_png, m.in_bytes), memory=PICTURE_MEMORY),
    Target("report.checkpoint", f"{RUN}/checkpoint.json", _report, seeds_model.checkpoint_json, JSON, _beside_report,
           cost=200),
    Target("report.metrics", "run/metrics/000001.json", _report, seeds.measurements, JSON, _beside_report, cost=200),
    Target("report.poses", "data/poses.npy", _report, seeds_model.poses, NPY, _beside_report, cost=500),
]  # fmt: skip
