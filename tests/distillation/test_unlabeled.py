import torch
from exit_outputs import K, N, make_outputs

from edgemate.distillation import Batch
from edgemate.distillation.unlabeled import by_domain, labeled_part


def test_the_labeled_part_is_what_a_batch_without_the_others_would_be() -> None:
    outputs, labels = make_outputs(1)
    maps = tuple(torch.full((N, 2, 1, 1), float(k)) for k in range(K))
    outputs, images = outputs._replace(maps=maps), torch.arange(float(N)).view(N, 1, 1, 1)
    mixed = labels.clone()
    mixed[[1, 4]] = -1
    kept = [0, 2, 3, 5]
    seen, batch = labeled_part(outputs, Batch(images, mixed))
    assert torch.equal(seen.logits, outputs.logits[kept])
    assert torch.equal(batch.labels, labels[kept])
    assert torch.equal(batch.images, images[kept])
    for k in range(K):
        assert torch.equal(seen.pooled[k], outputs.pooled[k][kept])
        assert torch.equal(seen.maps[k], maps[k][kept])

    source, target = by_domain(outputs, Batch(images, mixed))
    assert torch.equal(source.logits, seen.logits)
    assert torch.equal(target.logits, outputs.logits[[1, 4]])
    assert torch.equal(target.pooled[0], outputs.pooled[0][[1, 4]])
