BLAZEPOSE = expand(
    "results/models/blazepose/{model}.tflite",
    model=[
        "pose_detection",
        "pose_landmark_full",
        "face_detection_short_range",
        "selfie_segmentation",
    ],
)


rule models:
    output:
        BLAZEPOSE,
    log:
        "results/models/logs/models.log",
    benchmark:
        "results/models/benchmarks/models.tsv"
    conda:
        "../../envs/ag3d.yaml"
    resources:
        mem_mb=more(500),
        runtime=more(30),
    message:
        "Fetching the landmark and segmentation models"
    shell:
        "python -m ag3d.preprocessing.models --output $(dirname {output[0]}) > {log} 2>&1"
