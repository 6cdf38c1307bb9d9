rule viewer:
    input:
        f"{R}/avatars/avatars.json",
        f"{R}/export/export.json",
    output:
        report(
            f"{R}/viewer.html",
            caption="../report/viewer.rst",
            category="Avatars",
            labels={"shows": "avatars to turn around"},
        ),
    log:
        f"{R}/logs/viewer.log",
    benchmark:
        f"{R}/benchmarks/viewer.tsv"
    conda:
        "../../envs/ag3d.yaml"
    threads: 1
    resources:
        mem_mb=more(2000),
        runtime=more(10),
    message:
        "Writing the page of the avatars in 3D"
    shell:
        "python -m ag3d.viewer --run {R} --output {output} > {log} 2>&1"
