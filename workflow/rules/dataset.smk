# Compares all shards: when photographs are added, every shard is looked at again, and packed again where others are kept.
rule dedup:
    input:
        config=config_file(D, "dedup", section("dataset.dedup_max_hamming")),
        aligned=shards("{D}/alignment/{shard}.parquet"),
        normals=shards("{D}/normals/{shard}.parquet"),
    output:
        f"{D}/dedup.parquet",
    log:
        f"{D}/logs/dedup.log",
    benchmark:
        f"{D}/benchmarks/dedup.tsv"
    resources:
        **job(2000, 120),
    message:
        "Looking for people who are shown twice"
    shell:
        "python -m ag3d.preprocessing.dataset.dedup --aligned {input.aligned:q} --normals {input.normals:q}"
        " --output {output:q} --config {input.config:q} > {log} 2>&1"


if ZIPS:

    rule import_zip:
        input:
            config=config_file(
                D, "import_zip", section("photos.shards", "dataset.resolution")
            ),
            data=local(PHOTOS),
        output:
            data=f"{D}/dataset/{{shard}}.zip",
            rejected=f"{D}/rejected/{{shard}}.parquet",
        log:
            f"{D}/logs/import_zip/{{shard}}.log",
        benchmark:
            f"{D}/benchmarks/import_zip/{{shard}}.tsv"
        resources:
            **job(2000, 240),
        message:
            "Taking the data set over: shard {wildcards.shard}"
        shell:
            "python -m ag3d.preprocessing.dataset.import_zip --input {input.data:q} --shard {wildcards.shard}"
            " --config {input.config:q} --output {output.data:q} --rejected {output.rejected:q} > {log} 2>&1"

    rule rejected:
        input:
            shards("{D}/rejected/{shard}.parquet"),
        output:
            f"{D}/rejected.parquet",
        log:
            f"{D}/logs/rejected.log",
        benchmark:
            f"{D}/benchmarks/rejected.tsv"
        resources:
            **job(2000, 60),
        message:
            "Listing what was left out"
        shell:
            "python -m ag3d.preprocessing.dataset.rejected --tables {input:q} --output {output:q} > {log} 2>&1"

else:

    DEDUP = settings.dataset.dedup_max_hamming >= 0

    rule dataset:
        input:
            config=config_file(D, "dataset", section("dataset.resolution")),
            aligned=f"{D}/alignment/{{shard}}.zip",
            aligned_table=f"{D}/alignment/{{shard}}.parquet",
            normals=f"{D}/normals/{{shard}}.zip",
            normals_table=f"{D}/normals/{{shard}}.parquet",
            alike=f"{D}/dedup.parquet" if DEDUP else [],
        output:
            update(f"{D}/dataset/{{shard}}.zip"),  # left as it is where it holds the same people already
        log:
            f"{D}/logs/dataset/{{shard}}.log",
        benchmark:
            f"{D}/benchmarks/dataset/{{shard}}.tsv"
        resources:
            **job(2000, 120),
        message:
            "Packing the data set: shard {wildcards.shard}"
        shell:
            "python -m ag3d.preprocessing.dataset --aligned {input.aligned:q} --normals {input.normals:q}"
            + (" --alike {input.alike:q}" if DEDUP else "")
            + " --output {output:q} --config {input.config:q} > {log} 2>&1"

    rule rejected:
        input:
            photos=shards("{D}/photos/{shard}.parquet"),
            people=shards("{D}/people/{shard}.parquet"),
            mattes=shards("{D}/matting/{shard}.parquet"),
            fits=shards("{D}/fitting/{shard}.parquet"),
            aligned=shards("{D}/alignment/{shard}.parquet"),
            normals=shards("{D}/normals/{shard}.parquet"),
            dataset=shards("{D}/dataset/{shard}.zip"),
        output:
            f"{D}/rejected.parquet",
        log:
            f"{D}/logs/rejected.log",
        benchmark:
            f"{D}/benchmarks/rejected.tsv"
        resources:
            **job(2000, 60),
        params:
            shards=settings.photos.shards,
        message:
            "Listing what was left out"
        shell:
            "python -m ag3d.preprocessing.dataset.rejected --folder $(dirname {output:q}) --shards {params.shards} --output {output:q} > {log} 2>&1"


rule index:
    input:
        data=shards("{D}/dataset/{shard}.zip"),
        rejected=f"{D}/rejected.parquet",
        config=config_file(D, "index", section("dataset.version")),
    output:
        f"{D}/index.json",
    log:
        f"{D}/logs/index.log",
    benchmark:
        f"{D}/benchmarks/index.tsv"
    resources:
        **job(2000, 60),
    message:
        "Counting the data set"
    shell:
        "python -m ag3d.preprocessing.dataset.index --rejected {input.rejected:q} --config {input.config:q}"
        " --output {output:q} {input.data:q} > {log} 2>&1"


rule pose_distribution:
    input:
        shards("{D}/dataset/{shard}.zip"),
    output:
        poses=f"{D}/poses.npy",
        record=f"{D}/poses.json",
    log:
        f"{D}/logs/pose_distribution.log",
    benchmark:
        f"{D}/benchmarks/pose_distribution.tsv"
    resources:
        **job(2000, 60),
    message:
        "Collecting the pose distribution"
    shell:
        "python -m ag3d.preprocessing.dataset.pose_distribution --output {output.poses:q} --record {output.record:q} {input:q} > {log} 2>&1"
