"""The test images of a bundle, where its manifest says which they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgemate.bundle import Bundle
    from edgemate.runtime.labeled import LabeledImages


def read_test_split(bundle: Bundle) -> LabeledImages:
    """The test split of the dataset that the manifest names, with its options; UsageError asks for `data`."""
    from edgemate.data import FileImages, named_test_split, tested_indices
    from edgemate.errors import DataError, UsageError
    from edgemate.runtime.labeled import LabeledImages

    manifest = bundle.manifest
    name = manifest.source.get("data")
    if name is None:
        raise UsageError(f"{bundle.path}: does not say where its test images are; name them with `data`")
    try:
        test = named_test_split(name, manifest.data_options, manifest.classes)
    except (DataError, UsageError) as error:
        raise UsageError(f"{bundle.path}: its test images cannot be found: {error}; name them with `data`") from error
    except ModuleNotFoundError as error:  # as on a device
        raise UsageError(
            f"{bundle.path}: its test images ({name}) cannot be read without {error.name}, which is not installed; "
            "name them with `data`"
        ) from error
    indices = tested_indices(test.labels, manifest.test_limit)
    labels = test.labels[indices]
    if isinstance(test, FileImages):  # decoded when their turn comes: there may be more than the memory holds
        return LabeledImages([test.paths[i] for i in indices], labels)
    array = test.array
    return LabeledImages([test.image(int(i)) for i in indices] if array is None else list(array[indices]), labels)
