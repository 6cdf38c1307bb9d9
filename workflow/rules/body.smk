rule body:
    output:
        body="results/body/body.npz",
        garments="results/body/garments.npz",
        record="results/body/body.json",
    log:
        "results/body/logs/body.log",
    benchmark:
        "results/body/benchmarks/body.tsv"
    resources:
        **job(2000, 30),
    message:
        "Building the open body"
    shell:
        "python -m ag3d.preprocessing.body --output {output.body:q} --garments {output.garments:q} --record {output.record:q} > {log} 2>&1"
