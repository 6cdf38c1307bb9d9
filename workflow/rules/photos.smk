from pathlib import Path

from ag3d.preprocessing.photos.photo_index import cached_fingerprints, fingerprints

SYNTHETIC = settings.photos.source == "synthetic"
ZIPS = settings.photos.source == "zip"  # no photographs: a data set made elsewhere
# Photographs stay on a disk that all machines see, also when results are kept in a remote storage.
PHOTOS = (
    f"{D}/synthetic/photos"
    if SYNTHETIC
    else str(own("photos.path", settings.photos.path))
)


if SYNTHETIC:

    rule synthetic:
        input:
            config=config_file(D, "synthetic"),
            body=ancient("results/body/body.npz"),
            garments=ancient("results/body/garments.npz"),
        output:
            photos=local(directory(PHOTOS)),
            truth=local(f"{D}/synthetic/truth/truth.parquet"),
            maps=local(f"{D}/synthetic/truth/truth.zip"),
        log:
            f"{D}/logs/synthetic.log",
        benchmark:
            f"{D}/benchmarks/synthetic.tsv"
        threads: 4
        resources:
            **job(2000, 240),
        message:
            "Rendering the open photographs"
        shell:
            "python -m ag3d.preprocessing.synthetic --body {input.body:q} --garments {input.garments:q}"
            " --output-photos {output.photos:q} --output-truth $(dirname {output.truth:q}) --workers {threads}"
            " --config {input.config:q} > {log} 2>&1"


# A shard runs again when one of its files is added, changed or removed.
KEPT = settings.machine.keep_listing and not SYNTHETIC and not ZIPS
try:
    if KEPT:
        FINGERPRINTS = cached_fingerprints(
            PHOTOS, settings.photos.shards, Path(f"{D}/scan")
        )
    else:
        FINGERPRINTS = (
            {} if SYNTHETIC or ZIPS else fingerprints(PHOTOS, settings.photos.shards)
        )
except UserError as error:
    raise WorkflowError(printable(error))


# DeepFashion and UBC Fashion: are all files there?
rule source_check:
    input:
        config=config_file(D, "photos"),
        folder=ancient(local(PHOTOS)),
    output:
        f"{D}/source_check.json",
    log:
        f"{D}/logs/source_check.log",
    benchmark:
        f"{D}/benchmarks/source_check.tsv"
    resources:
        **job(1000, 60),
    message:
        "Checking the photographs that were delivered"
    shell:
        "python -m ag3d.preprocessing.photos.source_check --input {input.folder:q} --output {output:q} --config {input.config:q} > {log} 2>&1"


rule photos:
    input:
        config=config_file(D, "photos"),
        folder=local(PHOTOS) if SYNTHETIC else ancient(local(PHOTOS)),
        checked=ancient(f"{D}/source_check.json") if settings.photos.layout else [],
    output:
        f"{D}/photos/{{shard}}.parquet",
    log:
        f"{D}/logs/photos/{{shard}}.log",
    benchmark:
        f"{D}/benchmarks/photos/{{shard}}.tsv"
    resources:
        **job(2000, 240),
    params:
        files=lambda wildcards: FINGERPRINTS.get(int(wildcards.shard), ""),
    message:
        "Reading photographs: shard {wildcards.shard}"
    shell:
        "python -m ag3d.preprocessing.photos --input {input.folder:q} --shard {wildcards.shard}"
        + (f" --listing {D}/scan/{{wildcards.shard}}.parquet" if KEPT else "")
        + " --output {output:q} --config {input.config:q} > {log} 2>&1"
