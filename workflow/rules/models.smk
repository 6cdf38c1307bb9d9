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
    resources:
        **job(500, 30),
    message:
        "Fetching the landmark and segmentation models"
    shell:
        "python -m ag3d.preprocessing.models --output $(dirname {output[0]:q}) > {log} 2>&1"
