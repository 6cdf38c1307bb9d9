"""Runs in PaddleSeg's own environment (envs/paddleseg.yaml), started by ag3d.preprocessing.matting.paddleseg: nothing of this
project, and no other package than Paddle, OpenCV, numpy and PyYAML, is imported here.

    python paddle_worker.py FOLDER

FOLDER is a model as PaddleSeg exports it: deploy.yaml and the files that it names. Reads pictures from standard input and
writes the person's share of each pixel to standard output, each as an array of numpy.save after its length (8 bytes).
"""

import io
import os
import struct
import sys

import cv2
import numpy as np
import yaml


def main():
    folder = sys.argv[1]
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what Paddle prints must not get between the answers
    with open(os.path.join(folder, "deploy.yaml"), encoding="utf-8") as handle:
        deploy = yaml.safe_load(handle)["Deploy"]
    network = predictor(folder, deploy)
    send(answers, np.zeros(0))  # ready
    while (picture := receive(sys.stdin.buffer)) is not None:
        send(answers, share(network, prepare(picture, deploy.get("transforms") or [])))


def predictor(folder, deploy):
    from paddle import inference

    config = inference.Config(os.path.join(folder, deploy["model"]), os.path.join(folder, deploy["params"]))
    config.disable_gpu()
    config.disable_mkldnn()  # Paddle 3 cannot run all exported models with it
    config.set_cpu_math_library_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return inference.create_predictor(config)


def prepare(picture, transforms):
    """uint8 RGB [H,W,3] to the network's input [1,3,h,w], by the steps that deploy.yaml lists."""
    image = picture
    for step in transforms:
        height, width = image.shape[:2]
        kind = step["type"]
        if kind in ("LoadImages", "Compose"):
            continue
        if kind == "Resize":
            image = resized(image, *step.get("target_size", (512, 512)))
        elif kind in ("ResizeByShort", "ResizeByLong"):
            long = kind == "ResizeByLong"
            factor = step["long_size" if long else "short_size"] / (max if long else min)(height, width)
            image = resized(image, round(width * factor), round(height * factor))
        elif kind in ("LimitLong", "LimitShort"):
            side = (max if kind == "LimitLong" else min)(height, width)
            name = "long" if kind == "LimitLong" else "short"
            most, least = step.get(f"max_{name}") or np.inf, step.get(f"min_{name}") or 1
            factor = min(max(side, least), most) / side
            image = resized(image, round(width * factor), round(height * factor))
        elif kind == "ResizeToIntMult":
            mult = step.get("mult_int", 32)
            image = resized(image, max(1, width // mult) * mult, max(1, height // mult) * mult)
        elif kind == "Normalize":
            mean, std = step.get("mean", [0.5] * 3), step.get("std", [0.5] * 3)
            image = (image.astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
        else:
            sys.exit(f"deploy.yaml has the transform '{kind}', which is not known here")
    if image.dtype == np.uint8:
        image = image.astype(np.float32) / 255
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32)


def resized(image, width, height):
    flags = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_LINEAR
    return cv2.resize(image, (int(width), int(height)), interpolation=flags)


def share(network, tensor):
    """The person's share [h,w], 0 to 1, of the network's first output: labels, scores of classes (the last is the person),
    or alpha."""
    given = network.get_input_handle(network.get_input_names()[0])
    given.reshape(tensor.shape)
    given.copy_from_cpu(tensor)
    network.run()
    out = network.get_output_handle(network.get_output_names()[0]).copy_to_cpu()
    if np.issubdtype(out.dtype, np.integer):
        return (out.reshape(out.shape[-2:]) > 0).astype(np.float32)
    out = out[0] if out.ndim == 4 else out
    if len(out) == 1:
        return out[0].clip(0, 1).astype(np.float32)
    if abs(out.sum(axis=0) - 1).max() > 1e-2:  # scores before the softmax
        out = np.exp(out - out.max(axis=0))
        out = out / out.sum(axis=0)
    return out[-1].astype(np.float32)


def receive(stream):
    length = stream.read(8)
    if len(length) < 8:
        return None
    return np.load(io.BytesIO(stream.read(struct.unpack("<q", length)[0])), allow_pickle=False)


def send(stream, array):
    data = io.BytesIO()
    np.save(data, array, allow_pickle=False)
    stream.write(struct.pack("<q", len(data.getvalue())) + data.getvalue())
    stream.flush()


if __name__ == "__main__":
    main()
