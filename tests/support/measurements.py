"""Measurements of a milestone as the metrics write them, made up."""

from __future__ import annotations


def entry(table: str, column: str, value: float, protocol: str, **more) -> dict:
    common = {"deviation": 0.01, "better": "lower", "main": True, "fakes": 200, "reals": 140}
    return {**common, "table": table, "column": column, "value": value, "protocol_id": protocol, **more}


def measured(run: str, kimg: float, image: float, protocol: str = "p1", floor: float = 0.05) -> dict:
    metrics = {
        f"frechet_embedded_{column}": entry("frechet_embedded", column, value, f"{protocol}-{column}", floor=floor)
        for column, value in (("image", image), ("normal", image + 1))
    }
    metrics["frechet_embedded_image_detection"] = {**metrics["frechet_embedded_image"], "main": False, "value": 77.7}
    protocols = {m["protocol_id"]: {"name": "frechet_embedded", "samples": 200} for m in metrics.values()}
    return {"run": run, "kimg": kimg, "metrics": metrics, "protocols": protocols, "notes": []}


def with_more(measurement: dict, **values: float) -> dict:
    """The measurement with precision and recall, of which more is better."""
    for name, value in values.items():
        measurement["metrics"][name] = entry("precision_recall_embedded", name, value, "p9", better="higher")
    measurement["protocols"]["p9"] = {"samples": 200}
    return measurement
