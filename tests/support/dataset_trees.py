"""Small datasets laid out as their authors publish them, with a few made-up images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from toy_data import write_image


def write_jpegs(folder: Path, *names: str, size: tuple[int, int] = (12, 10)) -> None:
    """Images of that (width, height)."""
    for seed, name in enumerate(names):
        write_image(folder / name, size, seed)


def write_lines(path: Path, *lines: str) -> None:
    """A text file of these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def tiny_imagenet(root: Path) -> Path:
    """Two classes with two training images each, and three annotated validation images; test/ has no labels."""
    folder = root / "tiny-imagenet-200"
    write_lines(folder / "wnids.txt", "n02124075", "n01443537")
    write_lines(
        folder / "words.txt",
        "n00001740\tentity",
        "n01443537\tgoldfish, Carassius auratus",
        "n02124075\tEgyptian cat",
    )
    for key in ("n01443537", "n02124075"):
        write_jpegs(folder / "train" / key / "images", f"{key}_0.JPEG", f"{key}_1.JPEG", size=(64, 64))
        write_lines(folder / "train" / key / f"{key}_boxes.txt", f"{key}_0.JPEG\t0\t10\t63\t58")
    write_jpegs(folder / "val" / "images", *(f"val_{i}.JPEG" for i in range(3)), size=(64, 64))
    write_lines(
        folder / "val" / "val_annotations.txt",
        "val_0.JPEG\tn02124075\t0\t32\t44\t62",
        "val_1.JPEG\tn01443537\t52\t55\t57\t59",
        "val_2.JPEG\tn02124075\t4\t0\t60\t55",
    )
    write_jpegs(folder / "test" / "images", "test_0.JPEG", size=(64, 64))
    return folder


def cub200(root: Path) -> Path:
    """Two classes, five images."""
    folder = root / "CUB_200_2011"
    files = [
        "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg",
        "001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg",
        "001.Black_footed_Albatross/Black_Footed_Albatross_0002_55.jpg",
        "002.Laysan_Albatross/Laysan_Albatross_0002_1027.jpg",
        "002.Laysan_Albatross/Laysan_Albatross_0003_1033.jpg",
    ]
    write_jpegs(folder / "images", *files)
    write_lines(folder / "images.txt", *(f"{i} {name}" for i, name in enumerate(files, 1)))
    write_lines(folder / "image_class_labels.txt", "1 1", "2 1", "3 1", "4 2", "5 2")
    write_lines(folder / "train_test_split.txt", "1 0", "2 1", "3 1", "4 1", "5 0")
    write_lines(folder / "classes.txt", "1 001.Black_footed_Albatross", "2 002.Laysan_Albatross")
    write_lines(folder / "bounding_boxes.txt", "1 60.0 27.0 325.0 304.0")
    return folder


def cells(values: list[str]) -> np.ndarray:
    """A MATLAB cell array of strings, (N, 1)."""
    held = np.empty((len(values), 1), dtype=object)
    held[:, 0] = values
    return held


def stanford_dogs(root: Path) -> Path:
    """Two breeds with two training images and one test image each."""
    from scipy.io import savemat

    folder = root / "stanford_dogs"
    chihuahua, retriever = "n02085620-Chihuahua", "n02099267-flat-coated_retriever"
    files = {
        "train": [f"{breed}/{breed[:9]}_{i}.jpg" for breed in (chihuahua, retriever) for i in (7, 5)],
        "test": [f"{retriever}/n02099267_1.jpg", f"{chihuahua}/n02085620_3.jpg"],
    }
    labels = {"train": [1, 1, 2, 2], "test": [2, 1]}
    for split, names in files.items():
        write_jpegs(folder / "Images", *names)
        content = {
            "file_list": cells(names),
            "annotation_list": cells([name.removesuffix(".jpg") for name in names]),
            "labels": np.array(labels[split], dtype=np.uint8)[:, None],
        }
        savemat(folder / f"{split}_list.mat", content)
    return folder


def fgvc_aircraft(root: Path) -> Path:
    """Three variants of two families and manufacturers; an image of each in each of train, val and test."""
    folder = root / "fgvc-aircraft-2013b" / "data"
    names = {
        "variant": ["707-320", "F/A-18", "Challenger 600"],
        "family": ["Boeing 707", "F/A-18", "Challenger 600"],
        "manufacturer": ["Boeing", "McDonnell Douglas", "Canadair"],
    }
    for level, plural in (("variant", "variants"), ("family", "families"), ("manufacturer", "manufacturers")):
        write_lines(folder / f"{plural}.txt", *sorted(names[level]))
        for place, split in enumerate(("train", "val", "test")):
            lines = [f"{1000000 + 10 * place + i:07d} {name}" for i, name in enumerate(names[level])]
            write_lines(folder / f"images_{level}_{split}.txt", *lines)
    write_jpegs(folder / "images", *(f"{1000000 + 10 * place + i:07d}.jpg" for place in range(3) for i in range(3)))
    return folder


CRANES = {"n01440764": "tench, Tinca tinca", "n02012849": "crane", "n03126707": "crane"}
"""Three of ImageNet's synsets."""
VALIDATION = ["n03126707", "n01440764", "n02012849", "n01440764"]
"""The class of each of four validation images, by number."""


def imagenet_train(folder: Path) -> None:
    """Two training images of each synset in class folders."""
    for key in CRANES:
        write_jpegs(folder / "train" / key, f"{key}_2.JPEG", f"{key}_10.JPEG")


def imagenet_flat_val(folder: Path) -> None:
    """The four validation images in one folder."""
    write_jpegs(folder / "val", *(f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 5)))


def imagenet_kit(folder: Path) -> None:
    """The development kit: numbers that are not in the order of the ids, and a synset that is no class."""
    from scipy.io import savemat

    numbered = {"n02012849": 1, "n03126707": 2, "n01440764": 3}
    synsets = [(number, key, CRANES[key], 0) for key, number in numbered.items()] + [(4, "n00001740", "entity", 3)]
    fields = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object), ("num_children", object)]
    data = folder / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    savemat(data / "meta.mat", {"synsets": np.array(synsets, dtype=fields)[:, None]})
    write_lines(data / "ILSVRC2012_validation_ground_truth.txt", *(str(numbered[key]) for key in VALIDATION))


def imagenet_kaggle(folder: Path) -> None:
    """Kaggle's archive, unpacked."""
    inner = folder / "ILSVRC" / "Data" / "CLS-LOC"
    imagenet_train(inner)
    imagenet_flat_val(inner)
    write_jpegs(inner / "test", "ILSVRC2012_test_00000001.JPEG")
    write_lines(folder / "LOC_synset_mapping.txt", *(f"{key} {words}" for key, words in CRANES.items()))
    solution = [f"ILSVRC2012_val_{i:08d},{key} 85 1 499 272 {key} 1 2 3 4 " for i, key in enumerate(VALIDATION, 1)]
    write_lines(folder / "LOC_val_solution.csv", "ImageId,PredictionString", *reversed(solution))
