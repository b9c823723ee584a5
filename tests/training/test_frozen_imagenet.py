"""Exits attached to a real ImageNet network leave it as it is, bit for bit."""

from __future__ import annotations

import torch
from real_data import require
from safetensors.torch import load_file

from edgemate.config import Exits, Model
from edgemate.data.root import locate
from edgemate.distillation import Batch, Progress, Setting
from edgemate.distillation.methods.mate import MATE
from edgemate.models import build_model
from edgemate.models.networks.timm_networks import timm_network

WEIGHTS = "weights/tf_efficientnet_lite0.safetensors"


def test_the_last_exits_logits_stay_those_of_the_untouched_network() -> None:
    require("efficientnet_lite0")
    torch.manual_seed(0)
    untouched = timm_network("tf_efficientnet_lite0", 3, None, False).module
    untouched.load_state_dict(load_file(locate(WEIGHTS)))
    untouched.eval()
    exits = Exits(at=["blocks.2", "blocks.3", "global_pool"], head="separable")
    section = Model(backbone="timm/tf_efficientnet_lite0", weights=f"file:{WEIGHTS}")
    model = build_model(section, exits, 3, 1000, (224, 224))
    assert model.notes == []
    images = torch.randn(3, 3, 224, 224)
    with torch.no_grad():
        expected = untouched(images)
        assert torch.equal(model.eval()(images)[:, -1], expected)

    model.freeze_backbone()
    method = MATE(Setting(3, 1000, model.pooled_widths))
    trained = [parameter for parameter in (*model.parameters(), *method.parameters()) if parameter.requires_grad]
    before = [parameter.clone() for parameter in trained]
    optimizer = torch.optim.AdamW(trained, lr=0.01)
    model.train()
    for _ in range(2):
        loss = method(model.outputs(images), Batch(images, torch.tensor([1, 2, 3])), Progress(0, 1, 0.0)).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, trained, strict=True))
    with torch.no_grad():
        assert torch.equal(model.eval()(images)[:, -1], expected)


def test_with_other_classes_the_features_stay() -> None:
    require("efficientnet_lite0")
    untouched = timm_network("tf_efficientnet_lite0", 3, None, False).module
    untouched.load_state_dict(load_file(locate(WEIGHTS)))
    section = Model(backbone="timm/tf_efficientnet_lite0", weights=f"file:{WEIGHTS}")
    model = build_model(section, Exits(at=["blocks.3", "global_pool"]), 3, 10, (224, 224))
    (note,) = model.notes
    assert "its classifier of 1000 classes is replaced by a new one of 10" in note
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = untouched.eval().forward_head(untouched.forward_features(images), pre_logits=True)  # type: ignore[operator]
        assert torch.equal(model.eval().outputs(images).pooled[-1], features)
