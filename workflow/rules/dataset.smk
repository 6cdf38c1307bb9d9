rule dataset:
    input:
        aligned=f"{D}/aligned/{{shard}}.zip",
        normals=f"{D}/normals/{{shard}}.zip",
    output:
        f"{D}/dataset/{{shard}}.zip",
    log:
        f"{D}/logs/dataset/{{shard}}.log",
    benchmark:
        f"{D}/benchmarks/dataset/{{shard}}.tsv"
    threads: 1
    resources:
        mem_mb=more(2000),
        runtime=more(120),
    params:
        resolution=settings.dataset.resolution,
    message:
        "Packing the data set: shard {wildcards.shard}"
    shell:
        "python -m ag3d.preprocessing.dataset --aligned {input.aligned} --normals {input.normals}"
        " --output {output} --resolution {params.resolution} > {log} 2>&1"


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
    resources:
        mem_mb=more(2000),
        runtime=more(60),
    params:
        version=settings.dataset.version,
    message:
        "Counting the data set"
    shell:
        "python -m ag3d.preprocessing.index --rejected {input.rejected} --version {params.version}"
        " --output {output} {input.data} > {log} 2>&1"


rule poses:
    input:
        shards("{D}/dataset/{shard}.zip"),
    output:
        f"{D}/poses.npy",
    log:
        f"{D}/logs/poses.log",
    benchmark:
        f"{D}/benchmarks/poses.tsv"
    resources:
        mem_mb=more(2000),
        runtime=more(60),
    message:
        "Collecting the pose distribution"
    shell:
        "python -m ag3d.preprocessing.poses --output {output} {input} > {log} 2>&1"


rule rejected:
    input:
        photos=shards("{D}/photos/{shard}.parquet"),
        people=shards("{D}/people/{shard}.parquet"),
        mattes=shards("{D}/mattes/{shard}.zip"),
        fits=shards("{D}/fits/{shard}.parquet"),
        aligned=shards("{D}/aligned/{shard}.zip"),
        normals=shards("{D}/normals/{shard}.zip"),
        dataset=shards("{D}/dataset/{shard}.zip"),
    output:
        f"{D}/rejected.parquet",
    log:
        f"{D}/logs/rejected.log",
    benchmark:
        f"{D}/benchmarks/rejected.tsv"
    resources:
        mem_mb=more(2000),
        runtime=more(60),
    params:
        shards=settings.photos.shards,
    message:
        "Listing what was left out"
    shell:
        "python -m ag3d.preprocessing.rejected --folder {D} --shards {params.shards} --output {output} > {log} 2>&1"
