"""The recipe as pydantic models: one class per section, in the order of the YAML.

A name (`backbone: resnet18`) is a registered name or a dotted path; the `options` beside it are checked against the
keyword-only arguments of the factory behind that name (see `edgemate.config.options`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edgemate.config.older_runs import with_cache_in_data, with_teacher_lr
from edgemate.config.switches import NoSwitches

Options = dict[str, Any]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Ensemble = Literal["none", "mean", "learned"]


class Section(NoSwitches, BaseModel):
    """A mapping of the YAML. Unknown keys are errors; sections are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Part(Section):
    """A registered name with options, written `name` or `{name: {option: value}}`."""

    name: str
    options: Options = {}

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and len(value) == 1 and "name" not in value:
            name, options = next(iter(value.items()))
            return {"name": name, "options": {} if options is None else options}
        return value


class WeightedMethod(Part):
    """One of several distillation methods, and the weight of its loss in their sum."""

    weight: Annotated[float, Field(gt=0)] = 1.0


class Unlabeled(Section):
    """A second domain: images of the same classes whose labels training never sees."""

    name: str | None = Field(
        None,
        description="Registered dataset; if absent, the training split of data.name is split between the domains.",
    )
    options: Options = Field({}, description="Options of the dataset.")
    corruptions: list[Part] = Field([], description="Applied to its images, for training and test, in this order.")
    fraction: Fraction | None = Field(
        None,
        description="Fraction of the training split that becomes the unlabeled domain, where one dataset is split "
        "between both domains; 0.5 if absent.",
    )
    limit: Annotated[int, Field(gt=0)] | None = Field(None, description="Largest number of unlabeled images.")
    per_batch: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Unlabeled images in a batch; as many as labeled ones if absent."
    )

    @model_validator(mode="after")
    def _check_options(self) -> Unlabeled:
        if self.options and self.name is None:
            raise ValueError("options need a dataset: set name")
        return self


class Augmentation(Part):
    """A part of the augmentation."""

    @model_validator(mode="after")
    def _accept_old_options(self) -> Augmentation:
        # Older runs have these.
        renamed = {"rand_augment": {"num_ops": "operations"}, "random_erasing": {"p": "probability"}}
        names = renamed.get(self.name, {})
        return self.model_copy(update={"options": {names.get(key, key): value for key, value in self.options.items()}})


FILLED_BY_WEIGHTS = ("image_size", "resize", "resize_to", "interpolation", "mean", "std")
"""Keys of `data` that a training fills in by `model.weights` where they are absent."""


class Data(Section):
    """Which images, how they are split and prepared."""

    name: str = Field(description="Registered dataset.")
    options: Options = Field({}, description="Options of the dataset, such as root, path or download.")
    image_size: Annotated[int, Field(ge=4, le=4096)] | None = Field(
        None,
        description="Height and width of the input in pixels; those of the pretrained weights if absent, else the "
        "images' own size.",
    )
    resize: Literal["stretch", "shorter_side"] | None = Field(None, description="How images reach image_size.")
    resize_to: Annotated[int, Field(ge=4, le=4096)] | None = Field(
        None, description="Shorter side before the center crop; image_size × 256/224 if absent."
    )
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = Field(
        None,
        description="PIL's filter, where images are resized to image_size; that of the pretrained weights if absent, "
        "else bilinear. The augmentation random_resized_crop is bilinear whatever this says.",
    )
    mean: list[float] | None = Field(
        None,
        description="Per channel, of pixels in [0, 1]; those of the pretrained weights if absent, else from the "
        "training split.",
    )
    std: list[Annotated[float, Field(gt=0)]] | None = Field(None, description="As mean; both or neither.")
    calibration_fraction: Fraction = Field(0.1, description="Fraction of the training images held out for thresholds.")
    split_seed: Annotated[int, Field(ge=0)] = Field(
        0, description="Seed of the calibration split and of the limits, the same for all values of training.seed."
    )
    train_limit: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Largest number of training images; a stratified sample."
    )
    calibration_limit: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Largest number of calibration images; a stratified sample."
    )
    test_limit: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Largest number of test images of each domain; a stratified sample."
    )
    cache: Literal["auto", "device", "ram", "none"] = Field(
        "auto",
        description="Where training images are kept once they are decoded: device, on the training device, where they "
        "are augmented too (random_crop, horizontal_flip and rand_augment only); ram, in memory; none, nowhere. auto: "
        "device on a GPU if they and the augmentation fit there, else ram if they take at most a quarter of the memory "
        "that is free.",
    )
    skip_damaged: bool = Field(
        False, description="Leave out image files whose header or end is damaged, instead of refusing them."
    )
    sampling: Literal["shuffled", "balanced"] = Field(
        "shuffled",
        description="balanced: an epoch has as many images of every class, those of small classes several times, and "
        "as many images as before.",
    )
    repeats: Annotated[int, Field(ge=1)] = Field(
        1,
        description="Repeated augmentation: every image is this many times in a batch, each time augmented anew; an "
        "epoch keeps its steps and so has fewer images.",
    )
    mixup: Annotated[float, Field(gt=0)] | None = Field(
        None, description="α of mixup, which blends every image with another one of its batch; off if absent."
    )
    cutmix: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="α of CutMix, which pastes a rectangle of another image; off if absent. With mixup too, one of "
        "them is chosen for each batch.",
    )
    augmentation: list[Augmentation] = Field(
        [], description="Of training images, in this order, each a name or {name: options}."
    )
    unlabeled: Unlabeled | None = Field(None, description="A second domain, for methods that adapt to it.")

    @model_validator(mode="before")
    @classmethod
    def _accept_old_place(cls, value: Any) -> Any:
        # skip_damaged was an option of image_folder; older runs have it there.
        options = value.get("options") if isinstance(value, dict) and value.get("name") == "image_folder" else None
        if not isinstance(options, dict) or "skip_damaged" not in options:
            return value
        kept = {key: option for key, option in options.items() if key != "skip_damaged"}
        return {"skip_damaged": options["skip_damaged"], **value, "options": kept}

    @property
    def splits_own_dataset(self) -> bool:
        """Whether both domains share one dataset, whose training split is then split between them."""
        other = self.unlabeled
        return other is not None and (other.name is None or (other.name, other.options) == (self.name, self.options))

    @model_validator(mode="after")
    def _check_fraction(self) -> Data:
        other = self.unlabeled
        if other and other.fraction is not None and not self.splits_own_dataset:
            differs = f"unlabeled.name is {other.name}" if other.name != self.name else "unlabeled.options are others"
            raise ValueError(f"unlabeled.fraction splits one dataset, but {differs}; remove one of them")
        return self


class Model(Section):
    """The network that is cut."""

    backbone: str = Field(
        description="Registered backbone, timm/NAME, torchvision/NAME, or a network of your own, my_pkg.my_mod:MyNet."
    )
    options: Options = Field({}, description="Options of the backbone; of a library's network, its arguments.")
    weights: str | None = Field(
        None,
        description="Weights to begin with: pretrained (the library's own), file:PATH (safetensors or a state dict; "
        "relative to the current folder or the data root), or run:PATH (of another run); random ones if absent.",
    )

    @field_validator("weights")
    @classmethod
    def _check_weights(cls, weights: str | None) -> str | None:
        kind, _, path = (weights or "").partition(":")
        if weights is None or weights == "pretrained" or (kind in ("file", "run") and path):
            return weights
        raise ValueError(f"{weights!r} should be pretrained, file:PATH or run:PATH")


class Exits(Section):
    """Where the network is cut, and the head of every exit."""

    at: Annotated[list[str], Field(min_length=1)] | Literal["auto"] | None = Field(
        None,
        description="Cut points in order, the backbone's end last (`edgemate plan` lists them), or auto: at near-equal "
        "steps of MACs. If absent: the backbone's default ones, where it has some, else auto.",
    )
    count: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Number of exits that auto places; 4 if absent."
    )
    head: str = Field("linear", description="Registered head, of every exit but a network's own classifier.")
    options: Options = Field({}, description="Options of the heads.")
    layout: Literal["map", "channels_last", "tokens"] | None = Field(
        None,
        description="How the features at the cuts are laid out: (N, C, H, W), (N, H, W, C) or (N, L, C); found by "
        "their shape if absent.",
    )
    final: Literal["own", "new"] | None = Field(
        None,
        description="Classifier of the last exit: own, the network's (a new last layer for another number of classes), "
        "or new, a head like the others'. If absent: own, where the network was cut by its graph. With new, the last "
        "exit may come before the network's end, which is then left out.",
    )
    ensemble: Ensemble = Field(
        "none",
        description="Output of exit k: its own logits, the mean of the logits of exits 1 … k, or the method's "
        "learned ensemble of them.",
    )

    @field_validator("at")
    @classmethod
    def _check_unique(cls, at: list[str] | str | None) -> list[str] | str | None:
        if isinstance(at, list) and len(set(at)) != len(at):
            raise ValueError("a cut point occurs twice; name each once")
        return at

    @model_validator(mode="after")
    def _check_count(self) -> Exits:
        if self.count is not None and isinstance(self.at, list):
            raise ValueError("count is for at: auto; the list of cut points has its own length")
        return self


class Distillation(Section):
    """The objective that trains all exits together: one method, or the weighted sum of several."""

    method: str | None = Field("mate", description="Registered method; null if there are several under methods.")
    options: Options = Field({}, description="Options of the method.")
    methods: Annotated[list[WeightedMethod], Field(min_length=1)] | None = Field(
        None, description="Several methods instead of one, each a name, {name: options}, or name, weight and options."
    )
    scale: Literal["published", "labels"] = Field(
        "published",
        description="Of the whole loss. labels: divided so that the labels weigh 1 at an exit on average, whatever the "
        "method, so that methods can be compared at one learning rate.",
    )
    teacher: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="For methods that learn from another network: a run folder, a checkpoint in one, "
        "torchvision:NAME, or torchvision:NAME@FILE.",
    )

    @model_validator(mode="before")
    @classmethod
    def _check_alternatives(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("methods") is None:
            return value
        if value.get("method") is not None or value.get("options"):
            given = "method" if value.get("method") is not None else "options"
            raise ValueError(
                f"{given} and methods are both set; set method and options for one method, or methods for several, "
                "each with its own options"
            )
        return {**value, "method": None}

    @model_validator(mode="after")
    def _check_names(self) -> Distillation:
        names = self.names
        if not names:
            raise ValueError("no method is set; set method, or methods for several")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"methods has {name} twice; name it once, with one weight and one set of options")
        return self

    @property
    def names(self) -> list[str]:
        """Names of the methods, in order."""
        if self.methods is not None:
            return [part.name for part in self.methods]
        return [self.method] if self.method is not None else []


class Optimization(Section):
    """Optimizer, schedule and regularization."""

    epochs: Annotated[int, Field(gt=0)] = Field(
        description="Training epochs. If an override changes them, warm-up and milestones that do not fit are scaled."
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(
        128, description="Images per step, over all processes and accumulated micro-batches."
    )
    accumulate: Annotated[int, Field(ge=1)] = Field(
        1,
        description="Micro-batches per step: their gradients are accumulated, so a step needs the memory of "
        "batch_size / accumulate images. Batch normalization sees a micro-batch.",
    )
    optimizer: str = Field("sgd", description="Registered optimizer, or timm/NAME of timm.optim, such as timm/adan.")
    lr: Annotated[float, Field(gt=0)] = Field(0.1, description="Highest learning rate, which the schedule scales.")
    backbone_lr_scale: Annotated[float, Field(gt=0)] = Field(
        1.0, description="Factor on the learning rate of the backbone; heads and method keep lr."
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="Stage k of K learns at a further layer_decay ** (K - k) of the backbone's rate: BEiT's layer-wise "
        "decay, by stage.",
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        5e-4, description="Of all parameters of the network; those of the method have none."
    )
    optimizer_options: Options = Field({}, description="Options of the optimizer.")
    schedule: str = Field("cosine", description="Registered schedule of the learning rate.")
    schedule_options: Options = Field({}, description="Options of the schedule.")
    warmup_epochs: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Epochs of linear warm-up; shortened if it does not end within epochs."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Fraction of the target that hard-label terms spread evenly over all classes."
    )
    class_weights: Literal["none", "balanced"] | list[Annotated[float, Field(gt=0)]] = Field(
        "none",
        description="Weight of an image in the hard-label terms, by its class: one number per class, or balanced: "
        "N / (C · n_c) over the training split.",
    )
    gradient_clip: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Largest norm of the gradient over all parameters; off if absent."
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Decay of averaged weights per step; off if absent."
    )

    @field_validator("class_weights", mode="before")
    @classmethod
    def _check_class_weights(cls, value: Any) -> Any:
        # In one line, where each alternative of the type would have its own.
        numbers = isinstance(value, list) and value and all(type(one) in (int, float) and one > 0 for one in value)
        if numbers or value in ("none", "balanced"):
            return value
        raise ValueError(f"{value!r} should be none, balanced, or a list of one number above 0 per class")


class Training(Section):
    """How and where the training runs."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        0, description="Seed of the first weights, the order of images and their augmentation."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="bf16 and fp16 are mixed precision; fp16 needs a GPU. auto: bf16 if the hardware supports it, else "
        "fp32 on a CPU and fp16 on a GPU.",
    )
    channels_last: Literal["auto"] | bool = Field(
        "auto", description="Memory format NHWC. auto: if it is safe and was measured to be faster."
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        0, description="Data loader worker processes; 0 loads images in the main process."
    )
    freeze: Literal["none", "statistics", "backbone"] = Field(
        "none",
        description="backbone: only heads and method train; the backbone, its batch normalization included, stays "
        "as it is. statistics: everything trains, but the backbone's batch normalization keeps the mean and variance "
        "of its weights, as in evaluation; for fine-tuning on few images.",
    )
    freeze_until: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="Name of a cut point: what comes before it does not train, its batch normalization included. The "
        "first layers of a pretrained network take about half of the time and gain the least.",
    )
    cache_augmentations: Annotated[int, Field(ge=0)] = Field(
        1,
        description="With freeze: backbone, augmented views of every training image whose features are computed once "
        "and kept on disk; epoch e trains on view e modulo their number. 0: no cache, the backbone runs at every step.",
    )
    cache_dir: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="With freeze: backbone, folder of the cached features, kept for other runs with the same data and "
        "backbone; if absent, in the run folder until the training is finished. Without a cache it has no effect.",
    )
    compile: bool = Field(False, description="Compile the network for training by torch.compile; needs a C++ compiler.")
    cuda_graphs: bool = Field(False, description="With compile, on a GPU: replay the network's steps as CUDA graphs.")
    accelerator: Literal["auto", "cpu", "gpu"] = Field("auto", description="auto: a GPU where torch finds one.")
    sync_batchnorm: bool = Field(
        False,
        description="With several processes: batch normalization uses the mean and variance of the images of all of "
        "them. Without it, of a process's own images.",
    )
    weights: Literal["last", "best"] = Field(
        "last",
        description="Epoch whose weights are kept; best: highest calibration accuracy, averaged over exits.",
    )
    patience: Annotated[int, Field(gt=0)] | None = Field(
        None,
        description="Stop once the calibration accuracy, averaged over exits, has not improved for this many epochs; "
        "off if absent.",
    )
    checkpoint_every: Annotated[int, Field(gt=0)] = Field(
        1,
        description="Epochs between checkpoints; one is also written after the last epoch. Resuming trains the epochs "
        "after the last checkpoint again.",
    )
    keep_every: Annotated[int, Field(gt=0)] | None = Field(
        None,
        description="Epochs between weights that are kept in checkpoints/, which also gets those of the last epoch; "
        "none if absent.",
    )


class Recipe(Section):
    """A whole recipe."""

    data: Data
    model: Model
    exits: Exits = Exits()
    distillation: Distillation = Distillation()
    optimization: Optimization
    training: Training = Training()

    @model_validator(mode="before")
    @classmethod
    def _accept_older_runs(cls, value: Any) -> Any:
        return with_teacher_lr(with_cache_in_data(value), Optimization.model_fields["lr"].default)
