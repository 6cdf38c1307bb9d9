rule body:
    output:
        body="results/body/body.npz",
        garments="results/body/garments.npz",
        record="results/body/body.json",
    log:
        "results/body/logs/body.log",
    benchmark:
        "results/body/benchmarks/body.tsv"
    conda:
        "../../envs/ag3d.yaml"
    resources:
        mem_mb=more(2000),
        runtime=more(30),
    message:
        "Building the open body"
    shell:
        "python -m ag3d.preprocessing.body --output {output.body} --garments {output.garments} --record {output.record} > {log} 2>&1"
