from ag3d.core.files import existing


# Compares all shards: when photographs are added, every shard is looked at again, and packed again where others are kept.
rule alike:
    input:
        aligned=shards("{D}/aligned/{shard}.parquet"),
        normals=shards("{D}/normals/{shard}.parquet"),
    output:
        f"{D}/alike.parquet",
    log:
        f"{D}/logs/alike.log",
    benchmark:
        f"{D}/benchmarks/alike.tsv"
    conda:
        "../../envs/ag3d.yaml"
    resources:
        mem_mb=more(2000),
        runtime=more(120),
    params:
        most=settings.dataset.dedup_max_hamming,
    message:
        "Looking for people who are shown twice"
    shell:
        "python -m ag3d.preprocessing.dataset.dedup --aligned {input.aligned} --normals {input.normals} --dedup-max-hamming {params.most}"
        " --output {output} > {log} 2>&1"


if ZIPS:

    rule import_zip:
        input:
            local(existing(settings.photos.path, "photos.path")),
        output:
            data=f"{D}/dataset/{{shard}}.zip",
            rejected=f"{D}/rejected/{{shard}}.parquet",
        log:
            f"{D}/logs/import_zip/{{shard}}.log",
        benchmark:
            f"{D}/benchmarks/import_zip/{{shard}}.tsv"
        conda:
            "../../envs/ag3d.yaml"
        threads: 1
        resources:
            mem_mb=more(2000),
            runtime=more(240),
        params:
            shards=settings.photos.shards,
            resolution=settings.dataset.resolution,
        message:
            "Taking the data set over: shard {wildcards.shard}"
        shell:
            "python -m ag3d.preprocessing.dataset.import_zip --input {input:q} --shard {wildcards.shard} --shards {params.shards}"
            " --resolution {params.resolution} --output {output.data} --rejected {output.rejected} > {log} 2>&1"

    rule rejected:
        input:
            shards("{D}/rejected/{shard}.parquet"),
        output:
            f"{D}/rejected.parquet",
        log:
            f"{D}/logs/rejected.log",
        benchmark:
            f"{D}/benchmarks/rejected.tsv"
        conda:
            "../../envs/ag3d.yaml"
        resources:
            mem_mb=more(2000),
            runtime=more(60),
        message:
            "Listing what was left out"
        shell:
            "python -m ag3d.preprocessing.dataset.rejected --tables {input} --output {output} > {log} 2>&1"

else:

    rule dataset:
        input:
            aligned=f"{D}/aligned/{{shard}}.zip",
            aligned_table=f"{D}/aligned/{{shard}}.parquet",
            normals=f"{D}/normals/{{shard}}.zip",
            normals_table=f"{D}/normals/{{shard}}.parquet",
            alike=(
                f"{D}/alike.parquet" if settings.dataset.dedup_max_hamming >= 0 else []
            ),
        output:
            update(f"{D}/dataset/{{shard}}.zip"),  # left as it is where it holds the same people already
        log:
            f"{D}/logs/dataset/{{shard}}.log",
        benchmark:
            f"{D}/benchmarks/dataset/{{shard}}.tsv"
        conda:
            "../../envs/ag3d.yaml"
        threads: 1
        resources:
            mem_mb=more(2000),
            runtime=more(120),
        params:
            resolution=settings.dataset.resolution,
            alike=lambda wildcards, input: (
                f"--alike {input.alike}" if input.alike else ""
            ),
        message:
            "Packing the data set: shard {wildcards.shard}"
        shell:
            "python -m ag3d.preprocessing.dataset --aligned {input.aligned} --normals {input.normals} {params.alike}"
            " --output {output} --resolution {params.resolution} > {log} 2>&1"

    rule rejected:
        input:
            photos=shards("{D}/photos/{shard}.parquet"),
            people=shards("{D}/people/{shard}.parquet"),
            mattes=shards("{D}/mattes/{shard}.parquet"),
            fits=shards("{D}/fits/{shard}.parquet"),
            aligned=shards("{D}/aligned/{shard}.parquet"),
            normals=shards("{D}/normals/{shard}.parquet"),
            dataset=shards("{D}/dataset/{shard}.zip"),
        output:
            f"{D}/rejected.parquet",
        log:
            f"{D}/logs/rejected.log",
        benchmark:
            f"{D}/benchmarks/rejected.tsv"
        conda:
            "../../envs/ag3d.yaml"
        resources:
            mem_mb=more(2000),
            runtime=more(60),
        params:
            shards=settings.photos.shards,
        message:
            "Listing what was left out"
        shell:
            "python -m ag3d.preprocessing.dataset.rejected --folder $(dirname {output}) --shards {params.shards} --output {output} > {log} 2>&1"


rule index:
    input:
        data=shards("{D}/dataset/{shard}.zip"),
        rejected=f"{D}/rejected.parquet",
    output:
        f"{D}/index.json",
    log:
        f"{D}/logs/index.log",
    benchmark:
        f"{D}/benchmarks/index.tsv"
    conda:
        "../../envs/ag3d.yaml"
    resources:
        mem_mb=more(2000),
        runtime=more(60),
    params:
        version=settings.dataset.version,
    message:
        "Counting the data set"
    shell:
        "python -m ag3d.preprocessing.dataset.index --rejected {input.rejected} --version {params.version}"
        " --output {output} {input.data} > {log} 2>&1"


rule poses:
    input:
        shards("{D}/dataset/{shard}.zip"),
    output:
        poses=f"{D}/poses.npy",
        record=f"{D}/poses.json",
    log:
        f"{D}/logs/poses.log",
    benchmark:
        f"{D}/benchmarks/poses.tsv"
    conda:
        "../../envs/ag3d.yaml"
    resources:
        mem_mb=more(2000),
        runtime=more(60),
    message:
        "Collecting the pose distribution"
    shell:
        "python -m ag3d.preprocessing.dataset.pose_distribution --output {output.poses} --record {output.record} {input} > {log} 2>&1"
